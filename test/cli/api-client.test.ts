import { expect, test } from 'vitest';
import { Api } from '../../cli/api-client.ts';

const answering = (status: number, text: string): Api =>
  new Api(async () => ({ status, headers: {}, body: Buffer.from(text) }), 'https://home.example', new AbortController().signal);

test.each([
  [413, '{"errors":[{"code":"SIZE_INVALID","message":"more than 4.5 MB do not pass"}]}', 'TOO_LARGE', /4\.5 MB do not pass$/],
  [429, '{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}', 'TOO_MANY_REQUESTS', /too many requests$/],
  [502, '{"message": "Internal server error"}', 'UPSTREAM', /502: \{"message": "Internal server error"\}$/],
  [504, '<html>gone</html>', 'UPSTREAM', /504: <html>gone<\/html>$/],
  [500, '{"errors":[]}', 'UPSTREAM', /500: \{"errors":\[\]\}$/],
  [500, '{"errors":[{"message":7}]}', 'UPSTREAM', /500: /],
  [500, 'null', 'UPSTREAM', /500: null$/],
])('what a gateway in front answers with %i is told in its words: %s', async (status, text, code, message) => {
  await expect(answering(status, text).json('GET', '/api/v1/images')).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});
