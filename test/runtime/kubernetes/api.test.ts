import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubernetesApi } from '../../../runtime/kubernetes/api';
import { KubernetesError } from '../../../runtime/kubernetes/errors';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { FakeApiServer } from '../../support/fake-api-server';
import type { FakeAnswer } from '../../support/fake-api-server';

let fake: FakeApiServer;
let answers: FakeAnswer[];

beforeEach(async () => {
  answers = [];
  fake = await FakeApiServer.start(() => answers.shift() ?? { body: { ok: true } });
});
afterEach(() => fake.stop());

test('throttling is waited out as long as the API server says', async () => {
  answers = [{ status: 429, headers: { 'retry-after': '1' }, body: { reason: 'TooManyRequests' } }];
  const clock = new TestClock();
  const answer = fake.api(8, clock).get('/api/v1/pods');
  await eventually(() => clock.waits.includes(1_000));
  await clock.advance(999);
  expect(fake.requests).toHaveLength(1);
  await clock.advance(1);
  await expect(answer).resolves.toEqual({ ok: true });
  expect(fake.requests).toHaveLength(2);
});

test('a conflict of an apply, an unavailable server and a lost connection are tried again', async () => {
  answers = [{ status: 409, body: { reason: 'Conflict' } }, { status: 503 }, { cut: true }];
  await expect(fake.api().apply('/x', { kind: 'X' }, 'manager')).resolves.toEqual({ ok: true });
  expect(fake.requests).toHaveLength(4);
  const last = fake.requests.at(-1);
  expect(last).toMatchObject({
    method: 'PATCH',
    contentType: 'application/apply-patch+yaml',
    authorization: 'Bearer api-token',
  });
  expect(last?.query.get('fieldManager')).toBe('manager');
  expect(last?.query.get('force')).toBe('true');
});

test('what is forbidden is not tried again', async () => {
  answers = [{ status: 403, body: { reason: 'Forbidden', message: 'no' } }];
  await expect(fake.api().get('/x')).rejects.toMatchObject({
    status: 403,
    reason: 'Forbidden',
    code: 'kubernetes.refused',
  });
  expect(fake.requests).toHaveLength(1);
});

test('a server that never recovers ends in its error, and an aborted call ends at once', async () => {
  answers = Array.from({ length: 20 }, () => ({ status: 500, body: { reason: 'InternalError' } }));
  await expect(fake.api(3).get('/x')).rejects.toBeInstanceOf(KubernetesError);
  expect(fake.requests).toHaveLength(3);
  const controller = new AbortController();
  const clock = new TestClock();
  const aborted = expect(fake.api(100, clock).get('/x', { signal: controller.signal })).rejects.toThrow('enough');
  await eventually(() => fake.requests.length === 4);
  await eventually(() => clock.waits.some((ms) => ms < 15_000));
  controller.abort(new Error('enough'));
  await aborted;
  expect(fake.requests).toHaveLength(4);
});

test('deleting what is gone is no error, and preconditions are sent along', async () => {
  answers = [{ status: 404, body: { reason: 'NotFound' } }];
  await fake.api().delete('/x', { uid: 'u1', resourceVersion: '7' });
  expect(fake.requests[0]?.body).toMatchObject({ preconditions: { uid: 'u1', resourceVersion: '7' } });
  answers = [{ status: 409, body: { reason: 'Conflict' } }];
  await expect(fake.api().delete('/x', { uid: 'u2' })).rejects.toMatchObject({ status: 409 });
});

test.each([
  ['that is not there', undefined],
  ['that is no YAML', 'clusters: ['],
])('a kubeconfig %s is named', async (_, text) => {
  const folder = mkdtempSync(join(tmpdir(), 'sls-kubeconfig-'));
  const file = join(folder, 'config');
  if (text !== undefined) writeFileSync(file, text);
  const before = process.env['KUBECONFIG'];
  process.env['KUBECONFIG'] = file;
  try {
    await expect(KubernetesApi.ofUser()).toRejectWithCode('config.invalid', {
      message: expect.stringContaining(file) as string,
    });
  } finally {
    if (before === undefined) delete process.env['KUBECONFIG'];
    else process.env['KUBECONFIG'] = before;
    rmSync(folder, { recursive: true });
  }
});
