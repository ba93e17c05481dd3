import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { loginSettings } from '../../functions/login/settings';
import { signupSettings } from '../../functions/signup/settings';
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

test('a relative path is one of the folder in which the launcher was started, not of that of the programs', () => {
  const env = { NODE_EXTRA_CA_CERTS: 'ca.pem', EK_HASHES_FILE: '/etc/hashes', TPM_OWNER_AUTH_FILE: '', PATH: 'bin' };
  expect(inheritedEnvironment(env)).toEqual({ ...env, NODE_EXTRA_CA_CERTS: resolve('ca.pem') });
});

test('docs/operating.md names every variable of the list, and no other', () => {
  const text = readFileSync(join(__dirname, '../../docs/operating.md'), 'utf8');
  const [, section = ''] = /## Inherited environment\n([^#]*)/.exec(text) ?? [];
  expect([...section.matchAll(/`([A-Z_]{2,})`/g)].map(([, name]) => name)).toEqual([...INHERITED_ENVIRONMENT]);
});

test('docs/operating.md lists limits with the defaults of the programs that read them, and sls up hands on each', () => {
  const text = readFileSync(join(__dirname, '../../docs/operating.md'), 'utf8');
  const documented = [...text.matchAll(/^\| `([A-Z_]+)` +\| (\d+) +\|/gm)].map(([, name = '', value]) => [
    name,
    Number(value),
  ]);
  expect(documented).toHaveLength(10);
  for (const [name, value] of documented as Array<[string, number]>) {
    const defaults = [loginSettings.shape, signupSettings.shape].flatMap((shape) => {
      const setting = (shape as Record<string, { parse(value: unknown): unknown }>)[name];
      return setting === undefined ? [] : [setting.parse(undefined)];
    });
    expect({ name, defaults: [...new Set(defaults)] }).toEqual({ name, defaults: [value] });
    expect(INHERITED_ENVIRONMENT).toContain(name);
  }
});
