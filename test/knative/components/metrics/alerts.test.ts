import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { dump, load } from 'js-yaml';

const cached = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sls-promtool/usr/bin/promtool');
const promtool = [cached, 'promtool'].find((path) => spawnSync(path, ['--version']).status === 0);
if (promtool === undefined) console.error('alerts: not tested, there is no promtool');

const root = join(__dirname, '../../../..');
const { spec } = load(readFileSync(join(root, 'knative/components/metrics/alerts.yaml'), 'utf8')) as {
  spec: { groups: Array<{ rules: Array<{ alert: string }> }> };
};
const ALERTS = spec.groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
const LOGIN = 'sls_rpc_calls_total{method="/licensing.v1.LoginService/Login",code=';
const DAY = 86_400;

/** Series by the minute (promtool's notation), and when each alert that they are about fires, in minutes; none: it never does within the hour. */
const CASES: Array<[string, Record<string, string>, Partial<Record<string, number>>]> = [
  ['a certificate with weeks left', { sls_attestation_key_expiry_timestamp_seconds: `${20 * DAY}x60` }, {}],
  [
    'a certificate with half a day left that nobody renews',
    { sls_attestation_key_expiry_timestamp_seconds: `${DAY / 2}x60` },
    { SlsAttestationKeyEnds: 15 },
  ],
  [
    'a certificate that has ended',
    { sls_attestation_key_expiry_timestamp_seconds: '600x60' },
    { SlsAttestationKeyEnds: 15, SlsNodeCannotQuote: 20 },
  ],
  [
    'a node without a certificate',
    { sls_attestation_key_expiry_timestamp_seconds: '0x60' },
    { SlsNodeCannotQuote: 10 },
  ],
  [
    'a node that is enrolled after five minutes',
    { sls_attestation_key_expiry_timestamp_seconds: `0x4 ${20 * DAY}x55` },
    {},
  ],
  [
    'quotes of three seconds',
    {
      'sls_quote_duration_seconds_bucket{le="2"}': '0x60',
      'sls_quote_duration_seconds_bucket{le="5"}': '0+60x60',
      'sls_quote_duration_seconds_bucket{le="+Inf"}': '0+60x60',
    },
    { SlsQuotesAreSlow: 11 },
  ],
  [
    'quotes of a second',
    {
      'sls_quote_duration_seconds_bucket{le="2"}': '0+60x60',
      'sls_quote_duration_seconds_bucket{le="5"}': '0+60x60',
      'sls_quote_duration_seconds_bucket{le="+Inf"}': '0+60x60',
    },
    {},
  ],
  [
    'logins of which a fifth find no service',
    { [`${LOGIN}"OK"}`]: '0+40x60', [`${LOGIN}"UNAVAILABLE"}`]: '0+10x60' },
    { SlsLoginsFail: 11 },
  ],
  ['logins with wrong passwords', { [`${LOGIN}"OK"}`]: '0+10x60', [`${LOGIN}"UNAUTHENTICATED"}`]: '0+90x60' }, {}],
  [
    'enclaves of which half do not start',
    {
      'sls_enclave_starts_total{result="ok"}': '0+5x60',
      'sls_enclave_starts_total{result="enclave.no_node"}': '0+5x60',
    },
    { SlsEnclavesDoNotStart: 11 },
  ],
  ['queries that wait', { sls_database_waiting: '3x60' }, { SlsDatabaseIsWaitedFor: 10 }],
  ['queries that waited for a moment', { sls_database_waiting: '3 0x59' }, {}],
  ['passwords that wait', { sls_password_queue_length: '1x60' }, { SlsPasswordsAreWaitedFor: 10 }],
];

/** promtool's own unit tests, by its own evaluation of the rules. @returns what it says is wrong */
function evaluate(series: Record<string, string>, fires: Partial<Record<string, number>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'sls-alerts-'));
  try {
    writeFileSync(join(folder, 'rules.yaml'), dump(spec));
    const isFiring = (alert: string, minute: number): boolean => minute >= (fires[alert] ?? Infinity);
    // Whether it fires, a minute before and at the minute that is expected, and at the end; of what it says only that it says something.
    const moments = [...new Set([9, 10, 11, 14, 15, 19, 20, 59])];
    const count = (alert: string) => `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`;
    const tests = ALERTS.flatMap((alert) =>
      moments.map((minute) => ({
        expr: count(alert),
        eval_time: `${minute}m`,
        exp_samples: [{ labels: '{}', value: isFiring(alert, minute) ? 1 : 0 }],
      })),
    );
    const input = Object.entries(series).map(([name, values]) => ({ series: name, values }));
    const suite = {
      rule_files: ['rules.yaml'],
      evaluation_interval: '1m',
      tests: [{ interval: '1m', input_series: input, promql_expr_test: tests }],
    };
    writeFileSync(join(folder, 'tests.yaml'), dump(suite));
    const { status, stdout, stderr } = spawnSync(promtool!, ['test', 'rules', 'tests.yaml'], {
      cwd: folder,
      encoding: 'utf8',
    });
    return status === 0 ? '' : `${stdout}${stderr}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const withPromtool = promtool === undefined ? test.skip : test;

withPromtool.each(CASES)('%s', (_, series, fires) => {
  expect(evaluate(series, fires)).toBe('');
});

withPromtool('every alert is seen to fire', () => {
  expect([...new Set(CASES.flatMap(([, , fires]) => Object.keys(fires)))].sort()).toEqual([...ALERTS].sort());
});
