// Names of what is staged: uploads, and attempts to store.
import { randomBytes } from 'node:crypto';

export const newId = (): string => randomBytes(16).toString('hex');

/** Ids come back from clients, and become parts of paths and keys. */
export const isId = (text: string): boolean => /^[a-f0-9]{32}$/.test(text);
