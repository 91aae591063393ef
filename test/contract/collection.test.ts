import { storeHome } from '../support/store-home.ts';
import { collectionSuite } from './collection-suite.ts';

collectionSuite('SqliteTable and DiskBlobs', () => storeHome(), 3);
