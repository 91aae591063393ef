import { describe, expect, it } from 'vitest';
import { formatList } from '../../cli/list-format.ts';
import { parseTemplate } from '../../cli/template.ts';

const image = {
  Id: 'sha256:abc',
  Size: 12345,
  Config: { Cmd: ['sh', '-c', 'echo "hi" <&>'], Labels: { b: '2', a: '1', 'with.dots': 'x' }, Env: [], User: null },
  Nested: [{ Name: 'one' }, { Name: 'two' }],
  Yes: true,
};

describe('templates', () => {
  it.each([
    ['plain text', 'plain text'],
    ['{{.Id}}', 'sha256:abc'],
    ['a{{.Size}}b', 'a12345b'],
    ['{{.Config.Cmd}}', '[sh -c echo "hi" <&>]'],
    ['{{json .Config.Cmd}}', '["sh","-c","echo \\"hi\\" <&>"]'],
    ['{{ json .Config.Labels }}', '{"b":"2","a":"1","with.dots":"x"}'],
    ['{{.Config.Labels}}', 'map[a:1 b:2 with.dots:x]'],
    ['{{.Config.Labels.a}}', '1'],
    ['{{index .Config.Labels "with.dots"}}', 'x'],
    ['{{index .Config.Labels `with.dots`}}', 'x'],
    ['{{index .Config.Labels "none"}}|', '|'],
    ['{{index .Config.Cmd 1}}', '-c'],
    ['{{index .Nested 1 "Name"}}', 'two'],
    ['{{(index .Nested 0).Name}}', 'one'],
    ['{{range .Nested}}<{{.Name}}>{{end}}', '<one><two>'],
    ['{{range $i, $n := .Nested}}{{$i}}={{$n.Name}} {{end}}', '0=one 1=two '],
    ['{{range $n := .Nested}}{{$n.Name}}{{$.Size}}{{end}}', 'one12345two12345'],
    ['{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}},{{end}}', 'a:1,b:2,with.dots:x,'],
    ['{{range .Config.Env}}x{{else}}empty{{end}}', 'empty'],
    ['{{if .Config.Env}}some{{else if .Yes}}yes{{else}}no{{end}}', 'yes'],
    ['{{if and .Yes (gt .Size 100)}}big{{end}}', 'big'],
    ['{{if not .Config.User}}none{{end}}', 'none'],
    ['{{if eq .Id "x" "sha256:abc"}}same{{end}}{{if ne .Size 1}} other{{end}}', 'same other'],
    ['{{with .Config}}{{len .Cmd}}{{end}}{{with .Config.Env}}x{{else}}-{{end}}', '3-'],
    ['{{join .Config.Cmd ", "}}', 'sh, -c, echo "hi" <&>'],
    ['{{.Id | upper | printf "%s!"}}', 'SHA256:ABC!'],
    ['{{printf "%q %d%% %v" .Id .Size .Yes}}', '"sha256:abc" 12345% true'],
    ['{{$x := .Size}}{{$x}}', '12345'],
    ['{{truncate .Id 6}}{{pad "x" 1 2}}|', 'sha256 x  |'],
    ['{{index (split .Id ":") 1}}', 'abc'],
    ['{{println .Id}}', 'sha256:abc\n'],
    ['a  {{- .Size -}}  b', 'a12345b'],
    ['{{/* nothing */}}x', 'x'],
    ['{{"}}"}}', '}}'],
    ['{{.Config.User}}', '<no value>'],
  ])('%s', (template, text) => {
    expect(parseTemplate(template).render(image)).toBe(text);
  });

  it.each([
    ['{{.Nope}}', 'map has no entry for key "Nope"'],
    ['{{.Config.Cmd.X}}', "can't evaluate field X"],
    ['{{.Config.User.X}}', 'nil data'],
    ['{{.__proto__}}', 'map has no entry'],
    ['{{.constructor}}', 'map has no entry'],
    ['{{index .Config.Cmd 9}}', 'index out of range'],
    ['{{range .Size}}{{end}}', "range can't iterate"],
    ['{{lt .Size "a"}}', 'incompatible types'],
  ])('%s does not fit', (template, message) => {
    expect(() => parseTemplate(template).render(image)).toThrow(message);
  });

  it.each([
    ['{{', 'unclosed action'],
    ['{{.Id', 'unclosed action'],
    ['{{}}', 'missing value'],
    ['{{if .Id}}', 'an {{end}} is missing'],
    ['{{end}}', 'unexpected {{end}}'],
    ['{{(.Id}}', 'unclosed ('],
    ['{{.Id)}}', 'unexpected ")"'],
    ['{{nosuch .Id}}', 'function "nosuch" not defined'],
    ['{{toString .Id}}', 'function "toString" not defined'],
    ['{{template "x"}}', '{{template}} is not supported'],
    ['{{define "x"}}{{end}}', '{{define}} is not supported'],
    ['{{json.Id}}', 'unexpected .Id'],
    ['{{.Id | }}', 'missing value'],
    ['{{.Id ? 1}}', 'unexpected'],
    ['{{$x}}', 'undefined variable'],
  ])('%s is refused', (template, message) => {
    expect(() => parseTemplate(template).render(image)).toThrow(message);
  });
});

describe('lists', () => {
  const rows = [
    { Name: 'a', Size: '1MB' },
    { Name: 'a much longer name', Size: '20MB' },
  ];
  const headings = { Name: 'NAME', Size: 'SIZE' };
  it('are aligned as docker does it', () => {
    expect(formatList(rows, headings, ['Name', 'Size'])).toEqual([
      'NAME                 SIZE',
      'a                    1MB',
      'a much longer name   20MB',
    ]);
    expect(formatList([], headings, ['Name', 'Size'])).toEqual(['NAME      SIZE']);
  });

  it('keeps a row on its line, whatever an image says of itself; a template of one’s own gets it as it is', () => {
    const row = { Name: 'a\nb\tc', Size: '\u001b[2J1\u009bB\r' };
    expect(formatList([row], { Name: 'NAME', Size: 'SIZE' }, ['Name', 'Size'])[1]).toBe('a b    c   1');
    expect(formatList([row], { Name: 'NAME', Size: 'SIZE' }, [], '{{.Name}}')).toEqual([row.Name]);
  });
  it('take a table template, a bare one, and json', () => {
    expect(formatList(rows, headings, ['Name'], 'table {{.Size}}\\t{{.Name}}')).toEqual([
      'SIZE      NAME',
      '1MB       a',
      '20MB      a much longer name',
    ]);
    expect(formatList(rows, headings, ['Name'], '{{.Name}}:{{.Size}}')).toEqual(['a:1MB', 'a much longer name:20MB']);
    expect(formatList(rows, headings, ['Name'], 'json')).toEqual(rows.map((row) => JSON.stringify(row)));
    expect(formatList(rows, headings, ['Name', 'Size'], 'table')).toEqual(formatList(rows, headings, ['Name', 'Size']));
  });
});
