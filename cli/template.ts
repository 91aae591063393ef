// Go templates (text/template), as far as `--format` needs them: fields, variables, pipelines, range, if, with, and docker's functions.
// What is not supported is refused by its name, never printed as if it meant nothing.
import { SlipwayError } from '../shared/errors.ts';
import { functions, mismatch, show, sortedEntries, truth, type Value } from './template-values.ts';

type Scope = { readonly dot: Value; readonly vars: ReadonlyMap<string, Value> };

type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly pipe: Pipe }
  | { readonly kind: 'set'; readonly name: string; readonly pipe: Pipe }
  | { readonly kind: 'if' | 'with'; readonly pipe: Pipe; readonly then: readonly Node[]; readonly otherwise: readonly Node[] }
  | {
      readonly kind: 'range';
      readonly pipe: Pipe;
      readonly names: readonly string[];
      readonly then: readonly Node[];
      readonly otherwise: readonly Node[];
    };

/** Commands, each given the result of the one before as its last argument. */
type Pipe = readonly (readonly Operand[])[];

type Operand =
  | { readonly kind: 'literal'; readonly value: Value }
  | {
      readonly kind: 'path';
      readonly root: 'dot' | 'top' | Operand | { readonly variable: string };
      readonly fields: readonly string[];
    }
  | { readonly kind: 'function'; readonly name: string }
  | { readonly kind: 'pipe'; readonly pipe: Pipe };

const fail = (problem: string): SlipwayError =>
  new SlipwayError('USAGE', `template parsing error: ${problem}`, {
    hint: 'Supported are fields, variables, pipelines, if, range, with, and the functions json, index, len, join, split, lower, upper, title, println, print, printf, eq, ne, lt, le, gt, ge, and, or, not, truncate, pad.',
  });

export interface Template {
  /** The text for one value. Unknown fields are an error, as in docker. */
  render(value: Value): string;
}

export function parseTemplate(source: string): Template {
  const parser = new Parser(lex(source));
  const nodes = parser.block(false);
  return {
    render(value) {
      const out: string[] = [];
      run(nodes, { dot: value, vars: new Map([['$', value]]) }, out);
      return out.join('');
    },
  };
}

type Piece = { readonly text: string } | { readonly action: string };

/** Text and actions; `{{-` and `-}}` take the white space beside them, comments are dropped. */
function lex(source: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let rest = source;
  let trimNext = false;
  for (;;) {
    const open = rest.indexOf('{{');
    let text = open < 0 ? rest : rest.slice(0, open);
    if (trimNext) text = text.trimStart();
    if (open < 0) {
      pieces.push({ text });
      return pieces;
    }
    const close = closing(rest, open + 2);
    let action = rest.slice(open + 2, close);
    if (/^-\s/.test(action)) {
      text = text.trimEnd();
      action = action.slice(1);
    }
    trimNext = /\s-$/.test(action);
    if (trimNext) action = action.slice(0, -1);
    pieces.push({ text });
    if (!/^\s*\/\*[\s\S]*\*\/\s*$/.test(action)) pieces.push({ action: action.trim() });
    rest = rest.slice(close + 2);
  }
}

function closing(text: string, from: number): number {
  let quote: string | undefined;
  for (let i = from; i < text.length; i++) {
    const char = text[i]!;
    if (quote !== undefined) {
      if (char === '\\' && quote === '"') i++;
      else if (char === quote) quote = undefined;
    } else if (char === '"' || char === '`') quote = char;
    else if (text.startsWith('}}', i)) return i;
  }
  throw fail('unclosed action: a {{ without its }}');
}

const tokenShape =
  /\s*(?:("(?:\\.|[^"\\])*"|`[^`]*`)|(\$\w*(?:\.\w+)*)|((?:\.\w+)+|\.)|([A-Za-z_]\w*)|(-?\d+(?:\.\d+)?)|(:=|[|(,])|(\))((?:\.\w+)*))/y;

class Parser {
  readonly #pieces: readonly Piece[];
  #at = 0;

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  /** Nodes up to `{{end}}` or `{{else}}` (when `nested`), or to the end of the template. */
  block(nested: boolean): readonly Node[] {
    const nodes: Node[] = [];
    for (; this.#at < this.#pieces.length; ) {
      const piece = this.#pieces[this.#at]!;
      if ('text' in piece) {
        if (piece.text !== '') nodes.push({ kind: 'text', text: piece.text });
        this.#at++;
        continue;
      }
      const [, keyword = ''] = /^(\w+)/.exec(piece.action) ?? [];
      if (keyword === 'end' || keyword === 'else') {
        if (!nested) throw fail(`unexpected {{${piece.action}}}`);
        return nodes;
      }
      this.#at++;
      nodes.push(this.#action(keyword, piece.action));
    }
    if (nested) throw fail('unexpected end: an {{end}} is missing');
    return nodes;
  }

  #action(keyword: string, action: string): Node {
    const rest = action.slice(keyword.length);
    if (keyword === 'if' || keyword === 'with') return { kind: keyword, pipe: parsePipe(rest), ...this.#branches() };
    if (keyword === 'range') {
      const named = /^\s*\$(\w+)(?:\s*,\s*\$(\w+))?\s*:=/.exec(rest);
      const names = named ? [named[1]!, ...(named[2] === undefined ? [] : [named[2]])] : [];
      return { kind: 'range', names, pipe: parsePipe(named ? rest.slice(named[0].length) : rest), ...this.#branches() };
    }
    if (['template', 'define', 'block', 'break', 'continue'].includes(keyword)) throw fail(`{{${keyword}}} is not supported`);
    const set = /^\$(\w+)\s*:?=/.exec(action);
    if (set) return { kind: 'set', name: set[1]!, pipe: parsePipe(action.slice(set[0].length)) };
    return { kind: 'print', pipe: parsePipe(action) };
  }

  #branches(): { readonly then: readonly Node[]; readonly otherwise: readonly Node[] } {
    const then = this.block(true);
    const piece = this.#pieces[this.#at] as { readonly action: string };
    this.#at++;
    if (piece.action === 'end') return { then, otherwise: [] };
    const chained = /^else\s+(if|with)\b/.exec(piece.action);
    if (chained) {
      const kind = chained[1] as 'if' | 'with';
      return { then, otherwise: [{ kind, pipe: parsePipe(piece.action.slice(chained[0].length)), ...this.#branches() }] };
    }
    const otherwise = this.block(true);
    this.#at++;
    return { then, otherwise };
  }
}

function parsePipe(source: string): Pipe {
  const tokens = tokenize(source);
  const pipe = readPipe(tokens, source);
  if (tokens.length > 0) throw fail(`unexpected ${JSON.stringify(tokens[0]!.text)} in {{${source.trim()}}}`);
  return pipe;
}

interface Token {
  readonly kind: 'string' | 'variable' | 'field' | 'word' | 'number' | 'sign';
  readonly text: string;
  /** Fields written right after it: `(x).A.B`. */
  readonly fields: readonly string[];
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  tokenShape.lastIndex = 0;
  const end = source.trimEnd().length;
  while (tokenShape.lastIndex < end) {
    const start = tokenShape.lastIndex;
    const match = tokenShape.exec(source);
    if (match === null) throw fail(`unexpected ${JSON.stringify(source.slice(start).trim().slice(0, 20))}`);
    const [, text, variable, field, name, number, sign, close, after = ''] = match;
    const add = (kind: Token['kind'], shown: string, fields: readonly string[] = []) =>
      tokens.push({ kind, text: shown, fields });
    if (text !== undefined) add('string', text);
    else if (variable !== undefined) add('variable', variable);
    else if (field !== undefined) add('field', field);
    else if (name !== undefined) add('word', name);
    else if (number !== undefined) add('number', number);
    else if (close !== undefined) add('sign', close, after === '' ? [] : after.slice(1).split('.'));
    else add('sign', sign!);
    // `json.Id` would otherwise pass for `json .Id`.
    if (source[tokenShape.lastIndex] === '.' && (text ?? name ?? number) !== undefined) {
      throw fail(`unexpected ${source.slice(tokenShape.lastIndex).trim()} in {{${source.trim()}}}`);
    }
  }
  return tokens;
}

function readPipe(tokens: Token[], source: string): Pipe {
  const commands: Operand[][] = [[]];
  for (;;) {
    const token = tokens[0];
    if (token === undefined || (token.kind === 'sign' && token.text === ')')) break;
    tokens.shift();
    if (token.kind === 'sign' && token.text === '|') commands.push([]);
    else commands.at(-1)!.push(readOperand(token, tokens, source));
  }
  if (commands.some((command) => command.length === 0)) throw fail(`missing value in {{${source.trim()}}}`);
  return commands;
}

function readOperand(token: Token, tokens: Token[], source: string): Operand {
  const { kind, text } = token;
  switch (kind) {
    case 'string':
      return { kind: 'literal', value: text.startsWith('`') ? text.slice(1, -1) : unquote(text) };
    case 'number':
      return { kind: 'literal', value: Number(text) };
    case 'field':
      return { kind: 'path', root: 'dot', fields: text === '.' ? [] : text.slice(1).split('.') };
    case 'variable': {
      const [name = '', ...fields] = text.slice(1).split('.');
      return { kind: 'path', root: name === '' ? 'top' : { variable: name }, fields };
    }
    case 'word':
      if (text === 'true' || text === 'false') return { kind: 'literal', value: text === 'true' };
      if (text === 'nil') return { kind: 'literal', value: null };
      if (!Object.hasOwn(functions, text)) throw fail(`function "${text}" not defined`);
      return { kind: 'function', name: text };
    case 'sign': {
      if (text !== '(') throw fail(`unexpected ${JSON.stringify(text)} in {{${source.trim()}}}`);
      const pipe = readPipe(tokens, source);
      const close = tokens.shift();
      if (close === undefined) throw fail(`unclosed ( in {{${source.trim()}}}`);
      const inner: Operand = { kind: 'pipe', pipe };
      return close.fields.length > 0 ? { kind: 'path', root: inner, fields: close.fields } : inner;
    }
  }
}

function unquote(literal: string): string {
  try {
    return JSON.parse(literal) as string;
  } catch {
    throw fail(`${literal} is not a string`);
  }
}

function run(nodes: readonly Node[], scope: Scope, out: string[]): void {
  const vars = new Map(scope.vars);
  for (const node of nodes) {
    const inner = { dot: scope.dot, vars };
    switch (node.kind) {
      case 'text':
        out.push(node.text);
        break;
      case 'print':
        out.push(show(evaluate(node.pipe, inner)));
        break;
      case 'set':
        vars.set(node.name, evaluate(node.pipe, inner));
        break;
      case 'if':
        run(truth(evaluate(node.pipe, inner)) ? node.then : node.otherwise, inner, out);
        break;
      case 'with': {
        const value = evaluate(node.pipe, inner);
        run(truth(value) ? node.then : node.otherwise, truth(value) ? { dot: value, vars } : inner, out);
        break;
      }
      case 'range':
        runRange(node, inner, out);
    }
  }
}

function runRange(node: Node & { readonly kind: 'range' }, scope: Scope, out: string[]): void {
  const items = itemsOf(evaluate(node.pipe, scope));
  if (items.length === 0) run(node.otherwise, scope, out);
  for (const [key, value] of items) {
    const vars = new Map(scope.vars);
    const [first, second] = node.names;
    if (second !== undefined) vars.set(first!, key).set(second, value);
    else if (first !== undefined) vars.set(first, value);
    run(node.then, { dot: value, vars }, out);
  }
}

function itemsOf(value: Value): readonly (readonly [Value, Value])[] {
  if (Array.isArray(value)) return value.map((item, i) => [i, item]);
  if (typeof value === 'object' && value !== null) return sortedEntries(value);
  if (value === null || value === undefined) return [];
  throw mismatch(`range can't iterate over ${show(value)}`);
}

function evaluate(pipe: Pipe, scope: Scope): Value {
  let last: readonly Value[] = [];
  for (const command of pipe) last = [evaluateCommand(command, last, scope)];
  return last[0];
}

function evaluateCommand([head, ...rest]: readonly Operand[], piped: readonly Value[], scope: Scope): Value {
  if (head!.kind === 'function') {
    const args = [...rest.map((operand) => operandValue(operand, scope)), ...piped];
    return functions[head!.name]!(...args);
  }
  if (rest.length > 0 || piped.length > 0) throw fail("can't give argument to non-function");
  return operandValue(head!, scope);
}

function operandValue(operand: Operand, scope: Scope): Value {
  switch (operand.kind) {
    case 'literal':
      return operand.value;
    case 'function':
      return functions[operand.name]!();
    case 'pipe':
      return evaluate(operand.pipe, scope);
    case 'path':
      return operand.fields.reduce(field, rootOf(operand.root, scope));
  }
}

function rootOf(root: (Operand & { readonly kind: 'path' })['root'], scope: Scope): Value {
  if (root === 'dot') return scope.dot;
  if (root === 'top') return scope.vars.get('$');
  if ('variable' in root) {
    if (!scope.vars.has(root.variable)) throw fail(`undefined variable "$${root.variable}"`);
    return scope.vars.get(root.variable);
  }
  return operandValue(root, scope);
}

function field(value: Value, name: string): Value {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    if (Object.hasOwn(value, name)) return (value as Record<string, Value>)[name];
    throw mismatch(`map has no entry for key "${name}"`);
  }
  if (value === null || value === undefined) throw mismatch(`nil data; no entry for key "${name}"`);
  throw mismatch(`can't evaluate field ${name} in ${show(value)}`);
}
