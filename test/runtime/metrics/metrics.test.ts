import { Metrics } from '../../../runtime/metrics/metrics';

let metrics: Metrics;
let url: string;
beforeEach(async () => {
  metrics = new Metrics();
  url = `http://127.0.0.1:${await metrics.serve(0, '127.0.0.1')}`;
});
afterEach(() => metrics.close());

const scrape = async (): Promise<string[]> => (await (await fetch(`${url}/metrics`)).text()).split('\n');

test('a label takes a hundred values, and only words: what else comes is "other"', async () => {
  const count = metrics.counter('sls_things_total', 'Things', 'kind');
  for (let i = 0; i < 1_000; i++) count(`login.made_up_${i}`);
  for (const hostile of [
    'ada@example.org',
    'Ada',
    'a b',
    '"} 1',
    'a.b.c',
    '',
    '\n',
    '192.0.2.1',
    'x'.repeat(10) + '-1',
  ])
    count(hostile);
  const lines = (await scrape()).filter((line) => line.startsWith('sls_things_total{'));
  expect(lines).toHaveLength(101);
  expect(lines).toContain(`sls_things_total{kind="other"} ${1_000 - 100 + 9}`);
});

test('calls in flight are counted until they end', async () => {
  metrics.began('/a/B');
  metrics.began('/a/B');
  metrics.ended('/a/B', { code: 'OK', seconds: 0.3 });
  const lines = await scrape();
  expect(lines).toContain('sls_rpc_in_flight{method="/a/B"} 1');
  expect(lines).toContain('sls_rpc_calls_total{method="/a/B",code="OK"} 1');
  expect(lines).toContain('sls_rpc_duration_seconds_bucket{le="0.25",method="/a/B"} 0');
  expect(lines).toContain('sls_rpc_duration_seconds_bucket{le="0.5",method="/a/B"} 1');
});

test('nothing but GET /metrics is there', async () => {
  for (const [path, method] of [
    ['/', 'GET'],
    ['/metrics', 'POST'],
    ['/metrics/x', 'GET'],
    ['/debug', 'GET'],
  ] as const) {
    expect((await fetch(url + path, { method })).status).toBe(404);
  }
});
