import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandEnvironment, INHERITED_ENVIRONMENT } from '../../../enclave/session/program';

test("a command gets nothing of the enclave's settings", () => {
  const own = { LANG: 'C.UTF-8', ATTESTOR_CREDENTIAL_FILE: '/credential', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x' };
  expect(commandEnvironment({ A: '1' }, '/workspace', own)).toEqual({
    PATH: expect.stringContaining('/usr/bin'),
    HOME: '/workspace',
    LANG: 'C.UTF-8',
    A: '1',
  });
});

test("its client's wishes come first, but for the mark by which leftovers are found", () => {
  const own = { HOME: '/root', SLS_WORKLOAD: 'mark' };
  expect(commandEnvironment({ HOME: '/mine', SLS_WORKLOAD: 'none' }, '/workspace', own)).toMatchObject({
    HOME: '/mine',
    SLS_WORKLOAD: 'mark',
  });
});

test('docs/using.md names every variable that commands inherit, and no other', () => {
  const text = readFileSync(join(__dirname, '../../../docs/using.md'), 'utf8');
  const [, sentence = ''] = /A command in the enclave inherits([^]*?), and no other/.exec(text) ?? [];
  expect([...sentence.matchAll(/`([A-Z_]{2,})`/g)].map(([, name]) => name)).toEqual([...INHERITED_ENVIRONMENT]);
});
