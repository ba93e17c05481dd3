import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChannelCredentials } from '@grpc/grpc-js';
import { createAuthority } from '../../licensing/authority/authority';
import { callUnary } from '../../runtime/rpc/client';
import { AccountServiceClient } from '../../proto/gen/licensing/v1/account';
import { LoginRequest, LoginServiceClient } from '../../proto/gen/licensing/v1/login';
import { openReplica, writeAccountFiles } from '../../test/support/accounts';
import { startEmbeddedTestPostgres } from '../../test/support/embedded-postgres';
import { startEnclaveEndpoint } from '../../test/support/enclave-endpoint';
import { startOneLauncher } from '../../test/support/one-launcher';
import { byPassword, logIn, loginRequest, newClientKey } from '../../test/support/login-client';
import { startProgram } from '../../test/support/program';
import type { RunningProgram } from '../../test/support/program';

const PASSWORD = 'correct horse battery staple';
const TIMEOUT = { timeout: 120_000 };

/** signup and login as they are shipped, and what an honest user of theirs does. */
export interface Services {
  signup: RunningProgram;
  login: RunningProgram;
  logIn(): Promise<unknown>;
  signUp(): Promise<unknown>;
  /** A login that was sent before, by its bytes. */
  replayed: Uint8Array;
  stop(): Promise<void>;
}

export async function startServices(): Promise<Services> {
  const database = await startEmbeddedTestPostgres();
  const files = await writeAccountFiles(database.url);
  const clientCa = await createAuthority({ commonName: 'client CA', trustDomain: 'sls.test', years: 1 });
  const at = (name: string): string => join(files.folder, name);
  await writeFile(at('ca.key'), clientCa.privateKey, { mode: 0o600 });
  await writeFile(at('ca.crt'), clientCa.certificate);
  const backend = await openReplica(files, { cost: 12 });
  const [user] = await Promise.all(
    ['alice', 'mallory'].map(async (name) => backend.accounts.create(name, await backend.hasher.hash(PASSWORD))),
  );
  await backend.close();
  const enclave = await startEnclaveEndpoint({ user: user!, clientCa: clientCa.certificate });
  const launcher = await startOneLauncher(at('launcher.sock'), () =>
    Promise.resolve({ ...enclave.location, started: false }),
  );
  // What is measured is more than one user may do.
  const unlimited = { LOGINS_PER_ACCOUNT: '0', SIGNUPS_PER_ADDRESS: '0' };
  const settings = { ...files.settings, ...unlimited, LOG_LEVEL: 'error', LISTEN: 'http://127.0.0.1:0' };
  const [signup, login] = await Promise.all([
    startProgram('signup', settings),
    startProgram('login', {
      ...settings,
      CLIENT_CA_KEY_FILE: at('ca.key'),
      CLIENT_CA_CERTIFICATE_FILE: at('ca.crt'),
      LAUNCHER: 'process',
      LAUNCHER_ADDRESS: `unix:${at('launcher.sock')}`,
    }),
  ]);
  const plaintext = ChannelCredentials.createInsecure();
  const accounts = new AccountServiceClient(`127.0.0.1:${signup.port}`, plaintext);
  const logins = new LoginServiceClient(`127.0.0.1:${login.port}`, plaintext);
  const key = await newClientKey();
  let users = 0;
  const replayed = loginRequest(key, byPassword('mallory', PASSWORD));
  return {
    signup,
    login,
    logIn: () => logIn(logins, loginRequest(key, byPassword('alice', PASSWORD)), TIMEOUT),
    signUp: () =>
      callUnary(
        accounts,
        accounts.signUp,
        { username: `user${(users += 1)}`, password: PASSWORD, clientName: 'bench' },
        TIMEOUT,
      ),
    replayed: LoginRequest.encode(replayed).finish(),
    async stop() {
      for (const client of [accounts, logins]) client.close();
      await Promise.all([signup.stop(), login.stop()]);
      await Promise.all([enclave.stop(), launcher.stop(0)]);
      await files.remove();
      await database.stop();
    },
  };
}
