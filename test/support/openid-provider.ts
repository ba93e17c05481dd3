import { createHmac, createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt, importJWK, SignJWT } from 'jose';
import type { JWK, JWTHeaderParameters, JWTPayload } from 'jose';
import { Browser } from './browser';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
/** Seconds between a client's questions: short, so that tests are. */
const INTERVAL = 1;
/** The code, its confirmation, a login, a consent; and one more than that. */
const PAGES = 5;

function privateJwk(type: 'rsa' | 'ec', alg: string): JWK {
  const { privateKey } =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: `${alg}-${randomUUID()}`, alg, use: 'sig' } as JWK;
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A real OpenID provider (npm: oidc-provider) on this machine: discovery, device codes, pages on which a person logs in by any name, and consents. */
export class OpenIdProvider {
  readonly clientId = 'sls-test';
  readonly keys = { RS256: privateJwk('rsa', 'RS256'), ES256: privateJwk('ec', 'ES256') };
  /** How often clients asked for their tokens. */
  polls = 0;
  /** How often its keys were fetched. */
  keyFetches = 0;
  /** Requests that came while it hung. */
  unanswered = 0;
  /** Says slow_down to the next so many questions. */
  slowDowns = 0;
  private servers: Server[] = [];
  private port = 0;
  /** Where the test itself goes, without TLS. */
  private plainPort = 0;
  /** In seconds. */
  private lastToken = 0;
  private handle!: RequestListener;

  private constructor(private readonly certificate: CertifiedKey | undefined) {}

  /** @param certificate of localhost, for an issuer with TLS; left out: one without */
  static async start({ certificate }: { certificate?: CertifiedKey } = {}): Promise<OpenIdProvider> {
    // It warns of what is meant so here.
    jest.spyOn(console, 'info').mockImplementation(() => undefined);
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const provider = new OpenIdProvider(certificate);
    await provider.goUp();
    const { default: Provider } = await import('oidc-provider');
    const made = new Provider(provider.issuer, {
      clients: [
        {
          client_id: provider.clientId,
          application_type: 'native',
          token_endpoint_auth_method: 'none',
          grant_types: [DEVICE_CODE, 'refresh_token'],
          response_types: [],
          redirect_uris: [],
        },
      ],
      jwks: { keys: Object.values(provider.keys) },
      cookies: { keys: ['test'] },
      features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
      findAccount: (_context: unknown, accountId: string) => ({
        accountId,
        claims: () => ({ sub: accountId, preferred_username: 'root', email: 'root@example.com' }),
      }),
      claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'] },
      ttl: { DeviceCode: () => 120 },
    });
    made.use(async (context, next) => {
      if (context.path === '/jwks') provider.keyFetches += 1;
      if (context.path === '/token') {
        provider.polls += 1;
        if (provider.slowDowns > 0) {
          provider.slowDowns -= 1;
          context.status = 400;
          context.body = { error: 'slow_down' };
          return;
        }
      }
      await next();
      if (context.path === '/device/auth' && typeof context.body === 'object')
        context.body = { ...context.body, interval: INTERVAL };
    });
    warn.mockRestore();
    provider.handle = made.callback();
    return provider;
  }

  /** For `sls up`. */
  get upOptions(): string[] {
    return ['--oidc-issuer', this.issuer, '--oidc-client-id', this.clientId];
  }

  /** A key that is not the provider's, though it says so. */
  foreignKey(): JWK {
    return { ...privateJwk('rsa', 'RS256'), kid: this.keys.RS256.kid! };
  }

  publicKey({ kty, n, e, kid }: JWK): JWK {
    return { kty, n, e, kid } as JWK;
  }

  get issuer(): string {
    return this.certificate ? `https://localhost:${this.port}` : `http://127.0.0.1:${this.port}`;
  }

  /** Serves, on the port of before. */
  async goUp(): Promise<void> {
    const listener: RequestListener = (request, response) => this.handle?.(request, response);
    this.plainPort = await this.listen(createServer(listener), this.plainPort);
    const { certificate } = this;
    this.port = certificate
      ? await this.listen(
          createTlsServer({ key: certificate.privateKey, cert: certificate.certificate }, listener),
          this.port,
        )
      : this.plainPort;
  }

  async goDown(): Promise<void> {
    const servers = this.servers.splice(0);
    await Promise.all(
      servers.map((server) => {
        const closed = new Promise((resolve) => server.close(resolve));
        server.closeAllConnections();
        return closed;
      }),
    );
  }

  private async listen(server: Server, port: number): Promise<number> {
    this.servers.push(server);
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }

  private plain(address: string): string {
    return address.replace(this.issuer, `http://127.0.0.1:${this.plainPort}`);
  }

  /** Accepts connections and never answers, and counts in `unanswered` who waits. @returns what ends that */
  hang(): () => void {
    const { handle } = this;
    this.handle = () => void (this.unanswered += 1);
    return () => (this.handle = handle);
  }

  /** What somebody does at a browser whom a device shows an address to. @param subject who they are to the provider */
  async approve(address: string, subject: string): Promise<void> {
    const browser = new Browser();
    await browser.open(this.plain(address));
    for (let pages = 0; browser.asks && pages < PAGES; pages += 1) {
      await browser.submit(browser.has('login') ? { login: subject, password: 'known to the provider alone' } : {});
    }
    if (!browser.text.includes('Sign-in Success')) throw new Error(`expected a sign-in, got: ${browser.text}`);
  }

  /** The same, for somebody who thinks better of it. */
  async deny(address: string): Promise<void> {
    const browser = new Browser();
    await browser.open(this.plain(address));
    await browser.submit();
    await browser.submit({ abort: 'yes' });
  }

  /**
   * An ID token that the provider gives to this user, by a device code. Of one second it makes no two: without a jti, which is optional, they would be one.
   */
  async idToken(subject: string, scope = 'openid'): Promise<string> {
    const post = async (path: string, form: Record<string, string>): Promise<Record<string, string>> =>
      (await (
        await fetch(this.plain(this.issuer) + path, {
          method: 'POST',
          body: new URLSearchParams({ client_id: this.clientId, ...form }),
        })
      ).json()) as Record<string, string>;
    const { device_code = '', verification_uri_complete = '' } = await post('/device/auth', { scope });
    await this.approve(verification_uri_complete, subject);
    while (Math.floor(Date.now() / 1000) <= this.lastToken) await sleep(20);
    for (;;) {
      const { id_token: token, error } = await post('/token', { grant_type: DEVICE_CODE, device_code });
      if (token !== undefined) {
        this.lastToken = decodeJwt(token).iat ?? 0;
        return token;
      }
      if (error !== 'authorization_pending') throw new Error(`expected an ID token, got ${error}`);
      await sleep(50);
    }
  }

  /** Claims as the provider makes them. */
  claims(subject: string): JWTPayload & { iat: number; exp: number } {
    const iat = Math.floor(Date.now() / 1000);
    // No two are the same.
    return { iss: this.issuer, aud: this.clientId, sub: subject, iat, exp: iat + 3600, jti: randomUUID() };
  }

  /** Signs by the provider's own key what it would not sign. */
  async sign(
    claims: JWTPayload,
    { header = {}, key = this.keys.RS256 }: { header?: Partial<JWTHeaderParameters>; key?: JWK } = {},
  ): Promise<string> {
    return new SignJWT(claims)
      .setProtectedHeader({ alg: key.alg ?? '', kid: key.kid ?? '', ...header })
      .sign(await importJWK(key, key.alg));
  }

  /** alg none (RFC 7515, A.5). */
  unsigned(claims: JWTPayload): Promise<string> {
    return Promise.resolve(`${encode({ alg: 'none', kid: this.keys.RS256.kid })}.${encode(claims)}.`);
  }

  /** A MAC by the text of the public key, which everyone has. */
  signedByPublicKey(claims: JWTPayload): Promise<string> {
    const pem = createPublicKey({ key: { ...this.keys.RS256 }, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    const input = `${encode({ alg: 'HS256', kid: this.keys.RS256.kid })}.${encode(claims)}`;
    return Promise.resolve(`${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`);
  }

  /** The token with other claims under its signature. */
  withPayload(token: string, claims: JWTPayload): string {
    const [header, , signature] = token.split('.');
    return [header, encode(claims), signature].join('.');
  }
}
