import { readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { login, readTrustedBundle, signUp } from '../../client/index';
import { RpcError } from '../../runtime/rpc/errors';
import { Claims } from '../../proto/gen/licensing/v1/evidence';
import { PASSWORD } from '../support/machine';
import { ENCLAVES, enclaves, forgetLimits, kubectl } from './support/cluster';
import { setting } from './support/settings';

const COUNT = 100;
/** Passwords are hashed at signing up: not what this is about, so not all at once. */
const SIGNUPS_TOGETHER = 10;
const options = { allowPlaintext: true };
const users = new Set<string>();

beforeAll(forgetLimits);
afterAll(async () => {
  const names = (await enclaves())
    .filter(({ metadata }) => users.has(metadata.annotations?.['licensing/user'] ?? ''))
    .map(({ metadata }) => metadata.name);
  if (names.length > 0) await kubectl(['delete', 'ksvc', '-n', ENCLAVES, '--wait=false', ...names]);
});

/** As a person does who is told to try again. Whatever a user is told is one of these, in words. */
async function untilIn<T>(attempt: () => Promise<T>, seconds: number): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof RpcError) || ![status.UNAVAILABLE, status.RESOURCE_EXHAUSTED].includes(error.grpcStatus))
        throw error;
      expect(error.message).toMatch(/\w+ \w+/);
      if (Date.now() > end) throw error;
      await sleep(2_000 + Math.random() * 2_000);
    }
  }
}

test('a hundred users log in together: each gets in, with an enclave of their own and evidence of it', async () => {
  const trust = await readTrustedBundle(readFileSync(setting('SLS_TRUST'), 'utf8'), setting('SLS_TRUST_FINGERPRINT'));
  const tokens: string[] = [];
  const signUps = Array.from({ length: SIGNUPS_TOGETHER }, async () => {
    while (tokens.length < COUNT) {
      const username = `crowd-${randomBytes(6).toString('hex')}`;
      const { accessToken } = await untilIn(() => signUp(trust, { username, password: PASSWORD }, options), 60);
      tokens.push(accessToken);
    }
  });
  await Promise.all(signUps);

  const workloads = new Set<string>();
  await Promise.all(
    tokens.slice(0, COUNT).map(async (accessToken) => {
      const { evidence } = await untilIn(() => login(trust, { credential: { accessToken }, ...options }), 480);
      const claims = Claims.decode(evidence.claims);
      users.add(claims.user);
      workloads.add(claims.workloadUid);
    }),
  );
  expect(users.size).toBe(COUNT);
  expect(workloads.size).toBe(COUNT);
  expect(
    (await enclaves()).filter(({ metadata }) => users.has(metadata.annotations?.['licensing/user'] ?? '')),
  ).toHaveLength(COUNT);
}, 720_000);
