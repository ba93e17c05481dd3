import { createServer } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DeviceLoginError, logInByDevice, OidcProviderError } from '../../../client';
import type { DeviceCode, OidcSettings } from '../../../client';
import { IdTokenVerifier } from '../../../licensing/oidc/verifier';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { OpenIdProvider } from '../../support/openid-provider';

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    (value) => `expected a failure, got ${String(value)}`,
    (error: unknown) => error,
  );

describe('at a real provider', () => {
  let provider: OpenIdProvider;
  let settings: OidcSettings;
  let clock: TestClock;
  beforeEach(async () => {
    provider = await OpenIdProvider.start();
    clock = new TestClock();
    settings = { issuer: provider.issuer, clientId: provider.clientId, publicClientSecret: '', scopes: ['openid'] };
  });
  afterEach(() => provider.goDown());

  /** Logs in by a clock that stands, when a person has done with the code what the test says. */
  function logIn(person: (code: DeviceCode) => unknown, signal?: AbortSignal): Promise<string> {
    return logInByDevice(settings, { signal, clock, onCode: async (code) => void (await person(code)) });
  }
  /** Until the provider is asked next, which is in so many seconds; and asks it. */
  async function nextQuestion(seconds: number): Promise<void> {
    await clock.untilWaiting();
    const { polls } = provider;
    await clock.advance(seconds * 1000 - 1);
    expect({ polls: provider.polls, waits: clock.waits }).toEqual({ polls, waits: [1] });
    await clock.advance(1);
  }

  test('somebody who goes where the code says gets an ID token for themselves', async () => {
    let shown: DeviceCode | undefined;
    const waiting = logIn((code) => void (shown = code));
    await nextQuestion(1);
    await eventually(() => provider.polls === 1 && clock.waits.length === 1);
    await provider.approve(shown!.completeAddress!, 'ada');
    await nextQuestion(1);
    const token = await waiting;
    expect(await new IdTokenVerifier(provider).verify(token)).toMatchObject({
      subject: 'ada',
      issuer: provider.issuer,
    });
    expect(shown).toMatchObject({
      address: `${provider.issuer}/device`,
      userCode: expect.stringMatching(/^[A-Z]{4}-[A-Z]{4}$/),
    });
    expect(shown?.completeAddress).toBe(`${provider.issuer}/device?user_code=${shown?.userCode}`);
  });

  test('the provider is asked at the pace that it names, and more slowly when it says so', async () => {
    provider.slowDowns = 1;
    const waiting = logIn((code) => provider.approve(code.completeAddress!, 'bea'));
    await nextQuestion(1);
    // Its one second, and five more (RFC 8628, 3.5).
    await nextQuestion(6);
    await waiting;
    expect(provider.polls).toBe(2);
  });

  test('who says no there is told so', async () => {
    const waiting = failure(logIn((code) => provider.deny(code.completeAddress!)));
    await nextQuestion(1);
    expect(await waiting).toMatchObject({
      name: 'DeviceLoginError',
      code: 'oidc.denied',
    });
  });

  test('a code that nobody comes with ends by its time', async () => {
    const waiting = failure(logIn(() => undefined));
    await nextQuestion(1);
    await clock.untilWaiting();
    // Two of its 120 seconds are left.
    await clock.advance(117_000);
    await nextQuestion(1);
    expect(await waiting).toMatchObject({ code: 'oidc.code_expired' });
    expect(provider.polls).toBe(3);
  });

  test('a time of day that is put right meanwhile ends no code', async () => {
    let shown: DeviceCode | undefined;
    const waiting = logIn((code) => void (shown = code));
    await Promise.race([nextQuestion(1), waiting]);
    await clock.untilWaiting();
    clock.set(clock.now() + 86_400_000);
    await provider.approve(shown!.completeAddress!, 'dot');
    await nextQuestion(1);
    expect(await new IdTokenVerifier(provider).verify(await waiting)).toMatchObject({ subject: 'dot' });
  });

  test('a provider that is away for a moment meanwhile is waited for', async () => {
    const waiting = logIn(async (code) => {
      await provider.approve(code.completeAddress!, 'cyd');
      await provider.goDown();
    });
    await nextQuestion(1);
    await clock.untilWaiting();
    await provider.goUp();
    await nextQuestion(2);
    const token = await waiting;
    expect(await new IdTokenVerifier(provider).verify(token)).toMatchObject({ subject: 'cyd' });
  });

  test('one that is away from the start is told as such', async () => {
    await provider.goDown();
    expect(await failure(logIn(() => undefined))).toMatchObject({
      name: 'OidcProviderError',
      code: 'oidc.provider_unavailable',
    });
  });

  test('the wait can be given up', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const given = failure(logIn(() => undefined, controller.signal));
    await clock.untilWaiting();
    controller.abort(reason);
    expect(await given).toBe(reason);
  });

  test('a client that the provider does not know is told apart from a user who said no', async () => {
    settings = { ...settings, clientId: 'unknown' };
    expect(await failure(logIn(() => undefined))).toMatchObject({
      code: 'oidc.client_refused',
      message: expect.stringContaining('invalid_client'),
    });
  });
});

describe('at a provider that does not do as the standard says', () => {
  let server: Server;
  let issuer: string;
  let asked: string[];
  /** By path; what is not there is as a good provider has it. */
  let answers: Record<string, { status?: number; body: unknown }>;
  beforeAll(async () => {
    server = createServer((request, response) => {
      void textOf(request).then((text) => {
        asked.push(text);
        const { status = 200, body } = answers[request.url ?? ''] ?? good(request.url ?? '');
        response
          .writeHead(status, { 'content-type': 'application/json' })
          .end(typeof body === 'string' ? body : JSON.stringify(body));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    answers = {};
    asked = [];
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });

  async function textOf(request: IncomingMessage): Promise<string> {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    return text;
  }

  const code = {
    device_code: 'device',
    user_code: 'ABCD',
    verification_uri: 'https://example.com/device',
    expires_in: 60,
    interval: 0.05,
  };
  function good(path: string): (typeof answers)[string] {
    if (path === '/device') return { body: code };
    if (path === '/token') return { body: { id_token: 'a.b.c' } };
    return {
      body: {
        issuer,
        jwks_uri: `${issuer}/jwks`,
        token_endpoint: `${issuer}/token`,
        device_authorization_endpoint: `${issuer}/device`,
      },
    };
  }
  const logIn = (publicClientSecret = ''): Promise<unknown> => {
    const settings = { issuer, clientId: 'sls', publicClientSecret, scopes: ['openid', 'offline_access'] };
    return logInByDevice(settings, { onCode: () => undefined }).catch((error: unknown) =>
      error instanceof DeviceLoginError || error instanceof OidcProviderError ? error.code : error,
    );
  };

  test('it gets what RFC 8628 says, and what it calls a secret where there is one', async () => {
    expect(await logIn()).toBe('a.b.c');
    const [, first, second] = asked.map((text) => Object.fromEntries(new URLSearchParams(text)));
    expect(first).toEqual({ client_id: 'sls', scope: 'openid offline_access' });
    expect(second).toEqual({
      client_id: 'sls',
      device_code: 'device',
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    });
    asked = [];
    await logIn('not-secret');
    expect(asked.slice(1).map((text) => new URLSearchParams(text).get('client_secret'))).toEqual([
      'not-secret',
      'not-secret',
    ]);
  });

  test.each<[string, () => typeof answers, string]>([
    [
      'no device codes',
      () => ({
        '/.well-known/openid-configuration': {
          body: { issuer, jwks_uri: `${issuer}/jwks`, token_endpoint: `${issuer}/token` },
        },
      }),
      'oidc.no_device_codes',
    ],
    [
      'an address without TLS',
      () => ({ '/device': { body: { ...code, verification_uri: 'http://example.com/' } } }),
      'oidc.provider_invalid',
    ],
    [
      'an address that steers the terminal',
      () => ({ '/device': { body: { ...code, verification_uri_complete: 'https://example.com/\u001b[2J' } } }),
      'oidc.provider_invalid',
    ],
    [
      'an address that runs a program',
      () => ({ '/device': { body: { ...code, verification_uri_complete: 'javascript:alert(1)' } } }),
      'oidc.provider_invalid',
    ],
    [
      'a code without an end',
      () => ({ '/device': { body: { ...code, expires_in: undefined } } }),
      'oidc.provider_invalid',
    ],
    ['no code', () => ({ '/device': { body: '<html>' } }), 'oidc.provider_invalid'],
    [
      'that devices are not for this client',
      () => ({ '/device': { status: 400, body: { error: 'unauthorized_client' } } }),
      'oidc.client_refused',
    ],
    ['no ID token', () => ({ '/token': { body: { access_token: 'x' } } }), 'oidc.provider_invalid'],
    ['expired_token', () => ({ '/token': { status: 400, body: { error: 'expired_token' } } }), 'oidc.code_expired'],
    [
      'access_denied with another status',
      () => ({ '/token': { status: 403, body: { error: 'access_denied' } } }),
      'oidc.denied',
    ],
    ['a page', () => ({ '/token': { status: 200, body: '<html>' } }), 'oidc.provider_invalid'],
  ])('and says %s', async (_name, make, expected) => {
    answers = make();
    expect(await logIn()).toBe(expected);
  });
});
