import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { status } from '@grpc/grpc-js';
import { RpcError } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import { startServer } from '../../../runtime/rpc/server';
import type { RunningServer } from '../../../runtime/rpc/server';
import { AccountServiceService } from '../../../proto/gen/licensing/v1/account';
import type { AccountServiceServer } from '../../../proto/gen/licensing/v1/account';
import { makeAuthority } from '../../support/authority';
import { Machine } from '../../support/machine';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import { signTrustBundle } from '../../../attestation/trust/signed-bundle';
import { makeSigningKey } from '../../support/trust';
import type { Implementation } from '../../../runtime/rpc/handlers';

const STEERING = 'x\u001b[2J\u009b2J\r\nhint: evil.test\r\n\u202egnp.exe\u200b';
const CONTROLS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/;

let machine: Machine;
let service: RunningServer;
let provider: Server;
let issuer: string;
/** What the service names as its provider. */
let named: string;
let refusal: object | undefined;
/** What came to the provider. */
let asked: string[];

beforeAll(async () => {
  provider = createServer((request, response) => {
    const { url = '' } = request;
    asked.push(url);
    const metadata = {
      issuer,
      jwks_uri: `${issuer}/jwks`,
      token_endpoint: `${issuer}/token`,
      device_authorization_endpoint: `${issuer}/device`,
    };
    const code = {
      device_code: 'x',
      user_code: STEERING,
      verification_uri: `${issuer}/go`,
      expires_in: 1.5,
      interval: 1,
    };
    if (url === '/device') response.writeHead(refusal ? 400 : 200).end(JSON.stringify(refusal ?? code));
    else if (url === '/token') response.writeHead(400).end(JSON.stringify({ error: 'authorization_pending' }));
    else response.end(JSON.stringify(metadata));
  });
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  const refuse = unary((): never => {
    throw new RpcError('login.wrong_credentials', status.UNAUTHENTICATED, STEERING);
  });
  const implementation = {
    ...Object.fromEntries(Object.keys(AccountServiceService).map((name) => [name, refuse])),
    getOidcSettings: unary(() =>
      Promise.resolve({ issuer: named, clientId: 'sls', publicClientSecret: '', scopes: ['openid'] }),
    ),
  } as unknown as Implementation<AccountServiceServer>;
  service = await startServer({
    authenticate: () => Promise.resolve(),
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [{ definition: AccountServiceService, implementation }],
  });
  machine = new Machine();
  mkdirSync(machine.path('config', 'sls'), { recursive: true });
  await useService(`http://127.0.0.1:${service.port}`);
});
beforeEach(() => {
  named = issuer;
  refusal = undefined;
  asked = [];
});
afterAll(async () => {
  await service.stop(0);
  provider.close();
  provider.closeAllConnections();
  await machine.remove();
});

async function useService(address: string): Promise<void> {
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
  writeFileSync(machine.path('config', 'sls', 'trust-bundle.jws'), await signTrustBundle(trust, trustKey.privateKey));
}

test('what a provider says is shown as text', async () => {
  const pending = await machine.sls(['login', '--oidc']);
  expect(pending).toMatchObject({ code: 4, stderr: expect.stringContaining('gnp.exe') });
  refusal = { error: STEERING, error_description: STEERING };
  const refused = await machine.sls(['login', '--oidc']);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('gnp.exe') });
  for (const { stderr } of [pending, refused]) {
    expect(stderr).not.toMatch(CONTROLS);
    expect(stderr.split('\n').filter((line) => line.startsWith('hint: evil'))).toEqual([]);
  }
});

test('a service of the network can have nothing on this machine asked', async () => {
  // An address that leads here and doesn't say so stands for one of the network.
  await useService(`http://[::ffff:127.0.0.1]:${service.port}`);
  const elsewhere = await machine.sls(['login', '--oidc'], { env: { SLS_ALLOW_PLAINTEXT: '1' } });
  expect(elsewhere).toMatchObject({ code: 1, stderr: expect.stringContaining('is elsewhere') });
  expect(asked).toEqual([]);
  await useService(`http://127.0.0.1:${service.port}`);
});

test.each(['http://example.com', 'ftp://127.0.0.1', 'https://a/?x', STEERING, 'file:///etc/passwd'])(
  'a provider that is none is not asked: %j',
  async (text) => {
    named = text;
    const { code, stderr } = await machine.sls(['login', '--oidc']);
    expect({ code, asked }).toEqual({ code: 1, asked: [] });
    expect(stderr).not.toMatch(CONTROLS);
  },
);
