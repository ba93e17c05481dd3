import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { discover } from '../../../runtime/oidc/discovery';
import type { IdTokenError, OidcProviderError } from '../../../runtime/oidc/errors';
import { checkIssuer, isEndpointOf } from '../../../runtime/oidc/issuer';
import { readOidcSettings } from '../../../licensing/oidc/settings';
import { IdTokenVerifier } from '../../../licensing/oidc/verifier';
import { readEnvironment } from '../../../runtime/config/environment';
import { signupSettings } from '../../../functions/signup/settings';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { OpenIdProvider } from '../../support/openid-provider';

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    (error: IdTokenError | OidcProviderError) => error.code,
  );

describe('a provider', () => {
  let provider: OpenIdProvider;
  let verifier: IdTokenVerifier;
  let clock: TestClock;
  beforeEach(async () => {
    provider = await OpenIdProvider.start();
    clock = new TestClock();
    verifier = new IdTokenVerifier(provider, clock);
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await provider.goDown();
  });

  test('is believed of who its users are, and asked for its keys once', async () => {
    const tokens = await Promise.all(['ada', 'bea', 'cyd'].map((subject) => provider.sign(provider.claims(subject))));
    const all = await Promise.all([
      provider.idToken('dot').then((token) => verifier.verify(token)),
      ...tokens.map((token) => verifier.verify(token)),
    ]);
    expect(all.map(({ issuer, subject }) => ({ issuer, subject }))).toEqual(
      ['dot', 'ada', 'bea', 'cyd'].map((subject) => ({ issuer: provider.issuer, subject })),
    );
    expect(
      await codeOf(
        provider.sign(provider.claims('ada'), { key: provider.keys.ES256 }).then((token) => verifier.verify(token)),
      ),
    ).toBe('ok');
    expect(provider.keyFetches).toBe(1);
  });

  test('that names a key which nobody knows is asked again for its keys, but not at once and not for each', async () => {
    // By this alone jose knows the time.
    jest.spyOn(Date, 'now').mockImplementation(() => clock.now());
    await verifier.verify(await provider.sign(provider.claims('ada')));
    const stranger = (): Promise<string> =>
      provider.sign(provider.claims('ada'), { header: { kid: Math.random().toString() } });
    for (let index = 0; index < 5; index += 1)
      expect(await codeOf(verifier.verify(await stranger()))).toBe('id_token.unknown_key');
    expect(provider.keyFetches).toBe(1);
    await clock.advance(29_999);
    expect(await codeOf(verifier.verify(await stranger()))).toBe('id_token.unknown_key');
    expect(provider.keyFetches).toBe(1);
    await clock.advance(1);
    for (let index = 0; index < 5; index += 1)
      expect(await codeOf(verifier.verify(await stranger()))).toBe('id_token.unknown_key');
    expect(provider.keyFetches).toBe(2);
  });

  test('is not asked about tokens whose form, algorithm or kind says enough', async () => {
    const claims = provider.claims('ada');
    const tokens = [
      '',
      'x',
      'a.b.c',
      'A'.repeat(20_000),
      await provider.unsigned(claims),
      await provider.signedByPublicKey(claims),
      await provider.sign(claims, { header: { typ: 'at+jwt' } }),
    ];
    await provider.goDown();
    const codes = await Promise.all(tokens.map((token) => codeOf(verifier.verify(token))));
    expect(codes).toEqual([
      ...Array<string>(4).fill('id_token.malformed'),
      'id_token.algorithm',
      'id_token.algorithm',
      'id_token.type',
    ]);
  });

  test('that is down or hangs is unavailable, at once or after five seconds, and believed again when it is back', async () => {
    const token = await provider.sign(provider.claims('ada'));
    await provider.goDown();
    expect(await codeOf(verifier.verify(token))).toBe('oidc.provider_unavailable');
    await provider.goUp();
    // Still the answer of a moment ago.
    expect(await codeOf(verifier.verify(token))).toBe('oidc.provider_unavailable');
    await clock.advance(2_000);
    const goOn = provider.hang();
    const codes: string[] = [];
    const asked = [token, token].map(async (each) => codes.push(await codeOf(verifier.verify(each))));
    await eventually(() => provider.unanswered > 0);
    await clock.advance(4_999);
    expect(codes).toEqual([]);
    await clock.advance(1);
    await Promise.all(asked);
    expect(codes).toEqual(['oidc.provider_unavailable', 'oidc.provider_unavailable']);
    expect(provider.unanswered).toBe(1);
    goOn();
    await clock.advance(2_000);
    expect(await codeOf(verifier.verify(token))).toBe('ok');
    // Its keys are known now.
    await provider.goDown();
    expect(await codeOf(verifier.verify(await provider.sign(provider.claims('ada'))))).toBe('ok');
  });

  test('tells each rule that a token breaks by a code of its own, and says nothing of what is in it', async () => {
    const now = Math.floor(Date.now() / 1000);
    const broken: Array<[string, object]> = [
      ['id_token.issuer', { iss: 'https://other.example' }],
      ['id_token.audience', { aud: 'other' }],
      ['id_token.audience', { azp: 'other' }],
      ['id_token.expired', { exp: now - 61 }],
      ['id_token.too_old', { iat: now - 362 }],
      ['id_token.not_yet_valid', { iat: now + 70 }],
      ['id_token.claims', { iat: undefined }],
      ['id_token.claims', { sub: 'a\u0000b' }],
      ['id_token.claims', { sub: 7 }],
    ];
    for (const [code, claims] of broken) {
      const error = await verifier
        .verify(await provider.sign({ ...provider.claims('secret-subject'), ...claims }))
        .catch((cause: IdTokenError) => cause);
      expect({ claims, error }).toMatchObject({ claims, error: { name: 'IdTokenError', code } });
      expect((error as Error).message).not.toContain('secret-subject');
    }
    // Clocks differ by a little.
    for (const claims of [{ exp: now - 30 }, { iat: now - 330 }, { iat: now + 30 }]) {
      expect(await codeOf(verifier.verify(await provider.sign({ ...provider.claims('ada'), ...claims })))).toBe('ok');
    }
  });
});

describe('what calls itself a provider', () => {
  let server: Server;
  let issuer: string;
  let answer: RequestListener;
  beforeAll(async () => {
    server = createServer((request, response) => answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });
  const say =
    (value: unknown, status = 200): RequestListener =>
    (_request, response) =>
      void response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(typeof value === 'string' ? value : JSON.stringify(value));
  const metadata = (over: object = {}): object => ({
    issuer,
    jwks_uri: `${issuer}/jwks`,
    token_endpoint: `${issuer}/token`,
    device_authorization_endpoint: `${issuer}/device`,
    ...over,
  });

  test.each<[string, () => RequestListener]>([
    ['another issuer', () => say(metadata({ issuer: 'https://accounts.example.com' }))],
    ['its issuer with a slash', () => say(metadata({ issuer: `${issuer}/` }))],
    ['no keys', () => say(metadata({ jwks_uri: undefined }))],
    ['keys without TLS', () => say(metadata({ jwks_uri: 'http://example.com/jwks' }))],
    ['keys in a file', () => say(metadata({ jwks_uri: 'file:///etc/passwd' }))],
    ['a token endpoint without TLS', () => say(metadata({ token_endpoint: 'http://192.0.2.1/token' }))],
    ['no JSON', () => say('<html>')],
    ['a list', () => say([])],
    ['that there is nothing', () => say('', 404)],
    [
      'that it is elsewhere',
      () => (_request, response) => void response.writeHead(302, { location: 'https://example.com/' }).end(),
    ],
    ['a megabyte', () => say({ ...metadata(), padding: 'x'.repeat(1024 * 1024) })],
  ])('and says %s is refused', async (_name, make) => {
    answer = make();
    expect(await codeOf(discover(issuer))).toBe('oidc.provider_invalid');
  });

  test('without an end is cut off', async () => {
    answer = (_request, response) => {
      response.writeHead(200);
      const write = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      };
      response.on('drain', write);
      write();
    };
    expect(await codeOf(discover(issuer))).toBe('oidc.provider_invalid');
    let pieces = 0;
    answer = (_request, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(' ', () => (pieces += 1)), 5);
      response.on('close', () => clearInterval(timer));
    };
    const clock = new TestClock();
    const code = codeOf(discover(issuer, { clock }));
    await eventually(() => pieces > 10);
    expect(clock.waits).toEqual([5_000]);
    await clock.advance(5_000);
    expect(await code).toBe('oidc.provider_unavailable');
  });

  test('and says that it is busy is unavailable', async () => {
    for (const status of [429, 500, 503]) {
      answer = say('', status);
      expect(await codeOf(discover(issuer))).toBe('oidc.provider_unavailable');
    }
  });

  test('with keys that are none is refused, and not its users', async () => {
    for (const jwks of ['<html>', '{}', '{"keys":1}', `{"keys":["${'x'.repeat(400_000)}"]}`]) {
      answer = (request, response) => say(request.url === '/jwks' ? jwks : metadata())(request, response);
      const verifier = new IdTokenVerifier({ issuer, clientId: 'sls' });
      const token = [{ alg: 'RS256', kid: '1' }, { iss: issuer }]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .join('.');
      expect(await codeOf(verifier.verify(`${token}.AAAA`))).toBe('oidc.provider_invalid');
    }
  });
});

test('an issuer is an https URL, or one on this machine', () => {
  for (const issuer of [
    'https://accounts.example.com',
    'https://example.com/realms/sls/',
    'http://127.0.0.1:8080',
    'http://localhost',
    'http://[::1]:1',
  ])
    expect(checkIssuer(issuer)).toBe(issuer);
  for (const issuer of [
    '',
    'accounts.example.com',
    'http://example.com',
    'http://127.0.0.1.example.com',
    'https://a/?b',
    'https://a/#b',
    'https://user@a',
    'ftp://a',
    'https://a b',
    'https://a/\u001b[2J',
  ]) {
    expect(() => checkIssuer(issuer)).toThrow(TypeError);
  }
  // A provider of the network names nothing on this machine's plain ports.
  expect(isEndpointOf('https://example.com', 'http://127.0.0.1:8080/token')).toBe(false);
  expect(isEndpointOf('https://example.com', 'https://other.example/token')).toBe(true);
  expect(isEndpointOf('http://127.0.0.1:1', 'http://127.0.0.1:2/token')).toBe(true);
});

describe('settings', () => {
  const read = (oidc: Record<string, string>) =>
    readOidcSettings(
      readEnvironment(signupSettings, {
        LISTEN: 'http://127.0.0.1:0',
        DATABASE_URL_FILE: 'x',
        TOKEN_KEYS_FILE: 'x',
        TRUST_DOMAIN: 'sls.test',
        ...oidc,
      }),
    );

  test('without an issuer logins by OIDC are off', () => {
    expect(read({})).toBeUndefined();
    expect(
      read({
        OIDC_ISSUER: '',
        OIDC_CLIENT_ID: '',
        OIDC_SCOPES: '',
        OIDC_SIGNUP: 'true',
        OIDC_PUBLIC_CLIENT_SECRET: '',
      }),
    ).toBeUndefined();
  });

  test('with one they are on, and a first login makes an account unless told', () => {
    const on = { OIDC_ISSUER: 'https://accounts.example.com', OIDC_CLIENT_ID: 'sls' };
    expect(read(on)).toEqual({
      issuer: on.OIDC_ISSUER,
      clientId: 'sls',
      publicClientSecret: undefined,
      scopes: ['openid'],
      signup: true,
    });
    expect(read({ ...on, OIDC_SCOPES: 'openid offline_access', OIDC_SIGNUP: 'false' })).toMatchObject({
      scopes: ['openid', 'offline_access'],
      signup: false,
    });
  });

  test.each([
    ['an issuer without TLS', { OIDC_ISSUER: 'http://accounts.example.com', OIDC_CLIENT_ID: 'sls' }, 'OIDC_ISSUER'],
    ['no client', { OIDC_ISSUER: 'https://accounts.example.com' }, 'OIDC_CLIENT_ID'],
    ['no issuer', { OIDC_CLIENT_ID: 'sls' }, 'OIDC_ISSUER'],
    [
      'no ID token',
      { OIDC_ISSUER: 'https://accounts.example.com', OIDC_CLIENT_ID: 'sls', OIDC_SCOPES: 'profile' },
      'OIDC_SCOPES',
    ],
    [
      'perhaps',
      { OIDC_ISSUER: 'https://accounts.example.com', OIDC_CLIENT_ID: 'sls', OIDC_SIGNUP: 'perhaps' },
      'OIDC_SIGNUP',
    ],
  ])('that are wrong are named: %s', (_name, oidc, setting) => {
    expect(() => read(oidc)).toThrow(setting);
  });
});
