import type { z } from 'zod';
import { adminSettings } from '../../../functions/admin/settings';
import { enrolSettings } from '../../../functions/enrol/settings';
import { knativeSettings } from '../../../functions/login/launcher/knative-settings';
import { loginSettings } from '../../../functions/login/settings';
import { reaperSettings } from '../../../functions/login/reaper/settings';
import { signupSettings } from '../../../functions/signup/settings';
import { attestorSettings } from '../../../attestor-daemon/settings';
import { logSettings } from '../../../runtime/log/json';
import { tracesSettings } from '../../../runtime/traces/settings';
import { CONFIGURABLE, SETTINGS } from '../../../knative/installer/settings';
import type { Configurable } from '../../../knative/installer/settings';

const of = (...schemas: z.ZodObject[]): Record<string, z.ZodType> =>
  Object.assign({}, ...schemas.map(({ shape }) => shape as Record<string, z.ZodType>)) as Record<string, z.ZodType>;
const program = [logSettings, tracesSettings];
/** As each program reads them. */
const SCHEMAS: Record<Configurable, Record<string, z.ZodType>> = {
  signup: of(signupSettings, ...program),
  login: of(loginSettings, knativeSettings, ...program),
  enrol: of(enrolSettings, ...program),
  admin: of(adminSettings, ...program),
  attestor: of(attestorSettings, ...program),
  reaper: of(reaperSettings, ...program),
};

/** Set by the manifests or by what an installation says elsewhere, or for one machine and for benchmarks alone. */
const OWN =
  /^(LISTEN|LAUNCHER|LAUNCHER_ADDRESS|IDENTITY|TPM|TRUST_DOMAIN|NODE_NAME|STATE_DIR|SOCKET_MODE|ENROL_ADDRESS|ENCLAVE_(IMAGE|NAMESPACE|NODE_SELECTOR)|END_UNREADY|QUOTE_DELAY_MS|EK_ROOTS_DIR|OIDC_\w+|METRICS_\w+|\w+_FILE)$/;

test.each(CONFIGURABLE)('every setting of %s that an operator may decide can be set, and no other', (name) => {
  const theirs = Object.keys(SCHEMAS[name]).filter((setting) => !OWN.test(setting));
  expect(Object.keys(SETTINGS[name]).sort()).toEqual(theirs.sort());
});

const VALUES = [
  '',
  'native',
  '-1',
  '0',
  '1',
  '2',
  '3',
  '4',
  '16',
  '17',
  '90',
  '91',
  '100',
  '101',
  '256',
  '257',
  '1000',
  '1001',
  '3600',
  '3601',
]
  .concat([
    '10000',
    '10001',
    '1000000',
    '1000001',
    '2.5',
    'x',
    'true',
    'false',
    'on',
    'off',
    'info',
    'loud',
    '10Gi',
    '10 Gi',
  ])
  .concat(['http://collector:4318', '127.0.0.1 10.0.0.0/8', '0x81010010', '0x80000000']);

test.each(CONFIGURABLE)('what the installer takes for a setting of %s, the program takes', (name) => {
  for (const [setting, { schema }] of Object.entries(SETTINGS[name])) {
    const taken = VALUES.filter((value) => schema.safeParse(value).success);
    const byProgram = VALUES.filter((value) => SCHEMAS[name][setting]!.safeParse(value).success);
    expect({ setting, taken: taken.filter((value) => !byProgram.includes(value)) }).toEqual({ setting, taken: [] });
    expect(taken.length).toBeGreaterThan(0);
  }
});
