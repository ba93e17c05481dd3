import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { certificateDer, certificatePem, splitCertificates } from '../attestation/certificates/pem';
import { replaceDurably } from '../runtime/files/whole-file';
import { RpcError } from '../runtime/rpc/errors';
import { readOwnCertificate } from './enrolment';
import type { AttestationKey } from './tpm/attestation-key';
import { TpmCommandError } from './tpm/errors';
import { systemClock } from '../runtime/clock';
import type { Clock } from '../runtime/clock';
import { Backoff } from '../runtime/backoff';
import type { BackoffOptions } from '../runtime/backoff';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';
import { readText } from '../runtime/text/utf8';

/** The node's attestation key with its certificates (DER, leaf first). */
interface CertifiedAttestationKey {
  key: AttestationKey;
  certificates: Buffer[];
}

interface AttestationKeyManagerOptions {
  stateDir: string;
  node: string;
  /** The key that the TPM holds now: see ensureAttestationKey. */
  ensureKey(): Promise<AttestationKey>;
  /** Has it certified: see enrolAttestationKey. */
  enrol(key: AttestationKey, signal: AbortSignal): Promise<Buffer[]>;
  /** Told whenever evidence can be made, or can't any more. */
  onReady(ready: boolean): void;
  /** Told of each attempt that failed. */
  onFailure?(error: unknown): void;
  /** Makes a quote with the key, which is worth nothing to anyone: a TPM that makes none isn't ready. @throws TpmCommandError */
  tryQuote?(key: AttestationKey): Promise<unknown>;
  /** Between attempts. */
  retry?: Pick<BackoffOptions, 'firstMs' | 'mostMs'>;
  /** Silent, unless told. */
  log?: Logger;
  /** The system's, unless told. */
  clock?: Clock;
}

/** A certificate is renewed when this part of its life is left. */
const RENEWAL_PART = 1 / 3;
/** How often the TPM is asked whether it is there and has the key. */
const TPM_CHECK_MS = 3_600_000;
/** How often the time of day is looked at: timers stand still while the machine is suspended, and its clock may be set, ahead and back. */
const CLOCK_CHECK_MS = 30_000;
const RETRY = { firstMs: 500, mostMs: 30_000 };

/**
 * Keeps the attestation key certified, for as long as the daemon runs: makes or finds it, enrols it, renews its certificate, and starts over when the
 * TPM went away or lost the key. Every failure is tried again; none ends the daemon.
 */
export class AttestationKeyManager {
  private held: CertifiedAttestationKey | undefined;
  private ready = false;
  private readonly stopping = new AbortController();
  private wake: () => void = () => undefined;
  private invalidated = false;
  private failing = false;
  /** Told after each attempt. */
  private readonly waiting = new Set<() => void>();
  private loop: Promise<void> | undefined;

  private readonly clock: Clock;
  private readonly log: Logger;

  constructor(private readonly options: AttestationKeyManagerOptions) {
    this.clock = options.clock ?? systemClock;
    this.log = options.log ?? silent;
  }

  /** The key, when it is certified and the TPM was there when it was last asked. */
  get current(): CertifiedAttestationKey | undefined {
    return this.ready ? this.held : undefined;
  }

  /** The last key, even while the TPM is away: the next quote finds out whether it is back. */
  get last(): CertifiedAttestationKey | undefined {
    return this.held;
  }

  /** When its certificate ends, whether or not it can be used now. */
  get expiry(): Date | undefined {
    const leaf = this.held?.certificates[0];
    return leaf && new Date(new X509Certificate(leaf).validTo);
  }

  /**
   * The key that a quote is made with. Where its certificate has ended, or has not begun, the clock was set or the machine was suspended since it was looked at:
   * then it is renewed first, so that what waits for this gets evidence that is believed.
   */
  async forUse(): Promise<CertifiedAttestationKey | undefined> {
    if (this.held === undefined || this.isValid()) return this.held;
    // Tried again by itself, not by everybody who asks meanwhile.
    if (this.failing) return undefined;
    const renewed = new Promise<void>((resolve) => this.waiting.add(resolve));
    this.invalidated = true;
    this.wake();
    await renewed;
    return this.isValid() ? this.held : undefined;
  }

  start(): void {
    this.loop ??= this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.loop;
    this.tellWaiting(true);
  }

  /** The TPM failed, or signed with another key: look at it again. */
  invalidate(): void {
    this.invalidated = true;
    this.tell(false);
    this.wake();
  }

  private tellWaiting(failing: boolean): void {
    this.failing = failing;
    for (const tell of this.waiting) tell();
    this.waiting.clear();
  }

  private tell(ready: boolean): void {
    if (this.ready === ready) return;
    this.ready = ready;
    this.options.onReady(ready);
  }

  private async run(): Promise<void> {
    const backoff = new Backoff(this.options.retry ?? RETRY);
    while (!this.stopping.signal.aborted) {
      this.invalidated = false;
      try {
        await this.refresh();
        backoff.reset();
        this.tellWaiting(false);
        await this.rest();
      } catch (error) {
        this.tellWaiting(true);
        if (this.stopping.signal.aborted) return;
        // A certificate that couldn't be renewed yet is good until its end; a TPM that is away is no use.
        if (error instanceof TpmCommandError || !this.isValid()) this.tell(false);
        this.options.onFailure?.(error);
        const delay = backoff.next();
        report(this.log, error, Math.round(delay));
        await this.pause(delay);
      }
    }
  }

  private async refresh(): Promise<void> {
    const key = await this.options.ensureKey();
    if (this.held === undefined || !this.held.key.public.bytes.equals(key.public.bytes)) {
      this.held = await this.load(key);
    }
    await this.options.tryQuote?.(key);
    if (this.isValid()) this.tell(!this.invalidated);
    if (!this.isDue()) return;
    const certificates = await this.options.enrol(key, this.stopping.signal);
    await this.save(certificates);
    this.held = { key, certificates };
    this.log.info(
      { node: this.options.node, until: new X509Certificate(certificates[0] as Buffer).validTo },
      'attestation key certified',
    );
    this.tell(!this.invalidated);
  }

  /** Until the TPM or the certificate is to be looked at again. */
  private async rest(): Promise<void> {
    const end = this.clock.monotonic() + TPM_CHECK_MS;
    while (!this.invalidated && !this.stopping.signal.aborted && this.clock.monotonic() < end && !this.isDue())
      await this.pause(CLOCK_CHECK_MS);
  }

  private isValid(): boolean {
    const part = this.remaining();
    return part > 0 && part <= 1;
  }

  /** Also where the certificate has not begun: it was made while the clock was ahead, and nobody believes it yet. */
  private isDue(): boolean {
    return !(this.remaining() > RENEWAL_PART && this.isValid());
  }

  /** Part of the certificate's life that is left, 1 to 0 and below; more where it has not begun. */
  private remaining(): number {
    const der = this.held?.certificates[0];
    if (der === undefined || this.held === undefined) return 0;
    const { notBefore, notAfter } = readOwnCertificate([der], this.held.key.public, this.options.node);
    return (notAfter.getTime() - this.clock.now()) / (notAfter.getTime() - notBefore.getTime());
  }

  private get file(): string {
    return join(this.options.stateDir, 'ak-certificates.pem');
  }

  /** Certificates of an earlier start, when they are of this key and node. */
  private async load(key: AttestationKey): Promise<CertifiedAttestationKey | undefined> {
    try {
      const certificates = splitCertificates(await readText(this.file)).map(certificateDer);
      readOwnCertificate(certificates, key.public, this.options.node);
      return { key, certificates };
    } catch {
      return undefined;
    }
  }

  private async save(certificates: readonly Buffer[]): Promise<void> {
    await replaceDurably(this.file, certificates.map(certificatePem).join(''));
  }

  private async pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.clock.after(ms, resolve);
      this.wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

function report(log: Logger, error: unknown, retryInMs: number): void {
  if (error instanceof TpmCommandError || error instanceof RpcError) {
    log.warn({ code: error.code, reason: error.message, retryInMs }, 'attestation key not certified');
  } else {
    log.error({ err: error, retryInMs }, 'attestation key not certified');
  }
}
