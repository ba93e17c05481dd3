import { mkdir, open, readFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { status } from '@grpc/grpc-js';
import { importJWK, jwtVerify } from 'jose';
import type { CryptoKey, JWK, JWTPayload } from 'jose';
import { z } from 'zod';
import { ifThere, replaceFile } from '../../runtime/files/whole-file';
import { namePath } from '../../runtime/name-path';
import { RpcError } from '../../runtime/rpc/errors';
import { WORKLOAD_TOKEN } from '../../attestation/tokens/workload';
import type { Workload, WorkloadIdentifier, KnownWorkload } from './identity';
import { dateOf, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { silent } from '../../runtime/log/log';
import type { Logger } from '../../runtime/log/log';
import { readableText } from '../../runtime/text/utf8';

/** A credential lives 5 minutes; one that claims more was not made by the launcher. */
const MAX_LIFETIME_SECONDS = 300;
const CLOCK_SKEW_SECONDS = 5;
const MAX_CREDENTIAL_LENGTH = 4096;

const claims = z.object({
  sub: z.string().min(1).max(128),
  user: z.string().min(1).max(128),
  enclave: z.string().max(63).optional(),
  image_digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  jti: z.string().min(1).max(64),
  iat: z.number().int(),
  exp: z.number().int(),
});

/** @param json public JWK of the launcher @throws TypeError when it is none, and as JSON.parse and importJWK */
export async function readLauncherKey(json: string): Promise<CryptoKey> {
  const { kty, crv, x, y } = JSON.parse(json) as JWK;
  if (kty !== 'EC' || crv !== 'P-256') throw new TypeError('expected a P-256 public key as JWK');
  return (await importJWK({ kty, crv, x, y }, 'ES256')) as CryptoKey;
}

/**
 * A process of this machine by the credential that its launcher signed (JWT, ES256), used once. Which were used is kept in a file, so that a
 * restarted attestor takes none again.
 */
export class ProcessIdentity implements WorkloadIdentifier {
  private constructor(
    private readonly key: CryptoKey,
    private readonly node: string,
    private readonly used: UsedCredentials,
    private readonly clock: Clock,
  ) {}

  /** @param options.usedFile where used credentials are noted */
  static async open(options: {
    launcherKey: CryptoKey;
    node: string;
    usedFile: string;
    log?: Logger;
    clock?: Clock;
  }): Promise<ProcessIdentity> {
    const { clock = systemClock, log = silent } = options;
    const used = await UsedCredentials.open(options.usedFile, clock, log);
    return new ProcessIdentity(options.launcherKey, options.node, used, clock);
  }

  async identify(credential: string): Promise<Workload> {
    const { sub, user, enclave, image_digest, jti, exp } = await this.verify(credential);
    if (!(await this.used.take(jti, exp + CLOCK_SKEW_SECONDS))) {
      throw new RpcError(
        'attestor.credential_used',
        status.UNAUTHENTICATED,
        'the credential was used before: each opens one stream',
      );
    }
    return { user, enclave, workloadUid: sub, imageDigest: image_digest, node: this.node };
  }

  /** A live process opens a stream again within seconds, and a credential of one that ended is good for minutes. */
  isGone(_workload: KnownWorkload, unseenMs: number): Promise<boolean> {
    return Promise.resolve(unseenMs > 2 * (MAX_LIFETIME_SECONDS + CLOCK_SKEW_SECONDS) * 1000);
  }

  close(): Promise<void> {
    return this.used.close();
  }

  private async verify(credential: string): Promise<z.infer<typeof claims>> {
    const refused = (cause: unknown): RpcError =>
      new RpcError(
        'attestor.credential_refused',
        status.UNAUTHENTICATED,
        'the credential is not one of the launcher, or no longer good',
        { cause },
      );
    if (credential.length > MAX_CREDENTIAL_LENGTH) throw refused('length');
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(credential, this.key, {
        algorithms: ['ES256'],
        typ: WORKLOAD_TOKEN.typ,
        issuer: WORKLOAD_TOKEN.issuer,
        audience: WORKLOAD_TOKEN.audience,
        maxTokenAge: MAX_LIFETIME_SECONDS,
        clockTolerance: CLOCK_SKEW_SECONDS,
        currentDate: dateOf(this.clock),
        requiredClaims: ['exp', 'jti', 'sub'],
      }));
    } catch (error) {
      throw refused(error);
    }
    const result = claims.safeParse(payload);
    if (!result.success) throw refused(result.error);
    if (result.data.exp - result.data.iat > MAX_LIFETIME_SECONDS) throw refused('lifetime');
    return result.data;
  }
}

/** Ids of used credentials until these end: lines of a time and an id, rewritten at the start without what has ended. */
class UsedCredentials {
  private writing: Promise<void> = Promise.resolve();
  private torn = false;

  private constructor(
    private readonly ends: Map<string, number>,
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly clock: Clock,
    private readonly log: Logger,
  ) {}

  static async open(path: string, clock: Clock, log: Logger): Promise<UsedCredentials> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const ends = new Map<string, number>();
    // Whatever else stands there, what was used stays used.
    const text = readableText((await ifThere(readFile(path))) ?? Buffer.alloc(0));
    for (const line of text.split('\n')) {
      const [end, id] = line.split(' ');
      if (id !== undefined && Number(end) > clock.now() / 1000) ends.set(id, Number(end));
    }
    await replaceFile(path, [...ends].map(([id, end]) => `${end} ${id}\n`).join(''));
    return new UsedCredentials(ends, path, await open(path, 'a', 0o600), clock, log);
  }

  /** @returns false when the id was taken before @throws RpcError attestor.record_unwritable: it was not taken */
  async take(id: string, end: number): Promise<boolean> {
    const name = Buffer.from(id).toString('base64url');
    if (this.ends.has(name)) return false;
    // Known from here on, so that of two uses at once only one succeeds; written before the stream gets anything.
    this.ends.set(name, end);
    for (const [known, until] of this.ends) if (until <= this.clock.now() / 1000) this.ends.delete(known);
    await this.note(`${end} ${name}\n`).catch((error: unknown) => {
      this.ends.delete(name);
      const cause = namePath(error, this.path);
      this.log.error({ err: cause }, 'the record of used credentials can not be written');
      const message = "the attestor can't write down that the credential was used";
      throw new RpcError('attestor.record_unwritable', status.UNAVAILABLE, message, { cause });
    });
    return true;
  }

  /** One line after another: what a full disk left of one must not take the next along. */
  private note(line: string): Promise<void> {
    const writing = this.writing.then(async () => {
      const whole = this.torn ? `\n${line}` : line;
      this.torn = true;
      await this.file.appendFile(whole);
      this.torn = false;
    });
    this.writing = writing.catch(() => undefined);
    return writing;
  }

  async close(): Promise<void> {
    await this.file.close().catch((err: unknown) => this.log.debug({ err }, 'used credentials not closed'));
  }
}
