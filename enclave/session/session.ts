import { status } from '@grpc/grpc-js';
import { NONCE_BYTES } from '../../attestation/certificates/proof';
import { RpcError } from '../../runtime/rpc/errors';
import { requireLength } from '../../runtime/rpc/fields';
import { bidiStream, clientStream, serverStream, unary } from '../../runtime/rpc/handlers';
import { Purpose } from '../../proto/gen/licensing/v1/evidence';
import type { ClosedSeat } from '../../proto/gen/licensing/v1/seat';
import type { GetStatusResponse, SessionServiceServer } from '../../proto/gen/licensing/v1/session';
import type { AttestorLink } from '../attestor-link';
import type { SecureConnection } from '../tls';
import type { ClosedSeats } from './closed-seats';
import type { CommandNamespaces } from './command-namespaces';
import type { Commands } from './commands';
import { exec } from './exec';
import { forward } from './forward';
import { sendFile } from './get-file';
import type { OwnFiles } from './own-files';
import { receiveFile } from './put-file';
import { Seat } from './seat';
import type { SeatPolicy } from './seat';
import type { Implementation } from '../../runtime/rpc/handlers';
import { Windows } from '../../runtime/rpc/windows';

export interface SessionOptions {
  link: AttestorLink;
  commands: Commands;
  /** Absolute. */
  workspace: string;
  /** Not for the client. */
  own: OwnFiles;
  /** Those that commands run in, where they don't run in the enclave's own. */
  namespaces?: CommandNamespaces | undefined;
  seats: SeatPolicy;
  /** Of the whole enclave. */
  closedSeats: ClosedSeats;
  status(): Promise<GetStatusResponse>;
}

/** Connections to ports at the same time, of one session. */
export const MAX_FORWARDS = 1024;

/** What one connection may do, and what it has done so far. */
export class Session {
  private attested = false;
  private readonly closing = new AbortController();
  /** Ends what runs without a seat; what begins after that has one again. */
  private over = new AbortController();
  private readonly notices = new Set<(text: string) => void>();
  /** What runs by this connection. */
  private readonly work = new Set<Promise<unknown>>();
  private closed: Promise<ClosedSeat | undefined> | undefined;
  private readonly seat: Seat;
  private readonly windows = new Windows();
  private forwards = 0;

  constructor(
    private readonly connection: SecureConnection,
    private readonly options: SessionOptions,
  ) {
    const { tlsExporter } = connection;
    this.seat = new Seat(options.seats, () => ({ workloadUid: options.link.workloadUid, tlsExporter }), {
      onNotice: (text) => this.notices.forEach((tell) => tell(text)),
      onOver: () => {
        const { over } = this;
        this.over = new AbortController();
        over.abort(new RpcError('seat.lapsed', status.FAILED_PRECONDITION, 'the seat of this session has lapsed'));
      },
    });
  }

  /** Ends whatever runs for this connection, and lets nothing else begin. @returns once nothing runs, what is signed about its seat */
  close(): Promise<ClosedSeat | undefined> {
    return (this.closed ??= this.end());
  }

  private async end(): Promise<ClosedSeat | undefined> {
    const held = this.seat.giveUp();
    this.closing.abort(
      new RpcError('session.closed', status.FAILED_PRECONDITION, 'the session of this connection was closed'),
    );
    await Promise.allSettled(this.work);
    await this.options.commands.killed();
    return held && this.options.closedSeats.add(held);
  }

  private async during<T>(work: Promise<T>): Promise<T> {
    this.work.add(work);
    try {
      return await work;
    } finally {
      this.work.delete(work);
    }
  }

  get service(): Implementation<SessionServiceServer> {
    const { link, workspace, own, commands, namespaces } = this.options;
    return {
      attest: unary(async ({ nonce }, { signal }) => {
        requireLength('session.nonce', 'a nonce', nonce, NONCE_BYTES);
        const { client, tlsExporter } = this.connection;
        const evidence = await link.requestEvidence(
          {
            purpose: Purpose.PURPOSE_SESSION,
            nonce,
            clientKeySha256: client.keySha256,
            tlsExporter,
            includeEventLog: false,
          },
          signal,
        );
        this.attested = true;
        return { evidence, seatRequired: this.seat.required, closedSeats: this.options.closedSeats.list() };
      }),
      holdSeat: unary(async ({ token }) => {
        this.requireAttested();
        await this.seat.hold(token);
        return {};
      }),
      signHeartbeat: unary(async () => {
        this.requireAttested();
        return Promise.resolve({ heartbeat: this.seat.heartbeat() });
      }),
      closeSession: unary(async () => {
        this.requireAttested();
        return { closing: (await this.close())?.closing };
      }),
      exec: bidiStream(async (call, { signal }) => {
        this.requireSeat();
        await this.during(
          exec(call, {
            workspace,
            commands,
            namespaces,
            signal: AbortSignal.any([signal, this.closing.signal]),
            begin: () => this.begin(),
            notices: this.notices,
            clock: this.options.seats.clock,
          }),
        );
      }),
      putFile: clientStream(async (call, { signal }) => {
        this.requireSeat();
        return this.during(
          receiveFile(call, workspace, { signal: this.eitherEnd(signal), own, begin: () => void this.begin() }),
        );
      }),
      getFile: serverStream(async (call, { signal }) => {
        this.requireSeat();
        await this.during(sendFile(call, workspace, { signal: this.eitherEnd(signal), own }));
      }),
      forward: bidiStream(async (call, { signal }) => {
        this.requireSeat();
        if (this.forwards >= MAX_FORWARDS)
          throw new RpcError(
            'forward.too_many',
            status.RESOURCE_EXHAUSTED,
            `expected ${MAX_FORWARDS} connections to ports at most, got another`,
          );
        this.forwards += 1;
        try {
          const options = { workspace, windows: this.windows, signal: this.eitherEnd(signal) };
          await this.during(forward(call, { ...options, begin: () => void this.begin() }));
        } finally {
          this.forwards -= 1;
        }
      }),
      getStatus: unary(async () => {
        this.requireAttested();
        return this.options.status();
      }),
    };
  }

  /** The client has to have had the chance to check who is here before anything of its user's is taken. */
  private requireAttested(): void {
    if (this.attested) return;
    throw new RpcError(
      'session.not_attested',
      status.FAILED_PRECONDITION,
      'expected Attest to have succeeded on this connection',
    );
  }

  private requireSeat(): void {
    this.requireAttested();
    this.seat.require();
  }

  private begin(): AbortSignal {
    this.requireSeat();
    return this.over.signal;
  }

  private eitherEnd(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.closing.signal, this.over.signal]);
  }
}
