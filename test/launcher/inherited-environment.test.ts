import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { INHERITED_ENVIRONMENT, inheritedEnvironment } from '../../launcher/inherited-environment';

test('programs inherit what the list says, where it is set, and nothing else', () => {
  const env = {
    PATH: '/bin',
    SEATS: 'required',
    AWS_SECRET_ACCESS_KEY: 'secret',
    SLS_TRUST: '/tmp/other',
    LC_ALL: undefined,
  };
  expect(inheritedEnvironment(env)).toEqual({ PATH: '/bin', SEATS: 'required' });
});

test('docs/operating.md names every variable of the list, and no other', () => {
  const text = readFileSync(join(__dirname, '../../docs/operating.md'), 'utf8');
  const [, section = ''] = /## Inherited environment\n([^#]*)/.exec(text) ?? [];
  expect([...section.matchAll(/`([A-Z_]{2,})`/g)].map(([, name]) => name)).toEqual([...INHERITED_ENVIRONMENT]);
});
