import { status } from '@grpc/grpc-js';
import { NONCE_BYTES } from '../../core/certificates/proof';
import { RpcError } from '../../core/rpc/errors';
import { bidiStream, clientStream, serverStream, unary } from '../../core/rpc/handlers';
import { Purpose } from '../../proto/gen/licensing/v1/evidence';
import type { GetStatusResponse, SessionServiceServer } from '../../proto/gen/licensing/v1/session';
import type { AttestorLink } from '../attestor-link';
import type { SecureConnection } from '../tls';
import type { Commands } from './commands';
import { exec } from './exec';
import { sendFile } from './get-file';
import { receiveFile } from './put-file';

export interface SessionOptions {
  link: AttestorLink;
  commands: Commands;
  /** Absolute. */
  workspace: string;
  status(): Promise<GetStatusResponse>;
}

/** What one connection may do, and what it has done so far. */
export class Session {
  private attested = false;
  private readonly closing = new AbortController();

  constructor(
    private readonly connection: SecureConnection,
    private readonly options: SessionOptions,
  ) {}

  /** Ends whatever runs for this connection. */
  close(): void {
    this.closing.abort();
  }

  get service(): SessionServiceServer {
    const { link, workspace, commands } = this.options;
    return {
      attest: unary(async ({ nonce }, { signal }) => {
        if (nonce.length !== NONCE_BYTES) {
          throw new RpcError('session.nonce', status.INVALID_ARGUMENT, `expected a nonce of ${NONCE_BYTES} bytes, got ${nonce.length}`);
        }
        const { client, tlsExporter } = this.connection;
        const evidence = await link.attest(
          { purpose: Purpose.PURPOSE_SESSION, nonce, clientKeySha256: client.keySha256, tlsExporter, includeEventLog: false },
          signal,
        );
        this.attested = true;
        return { evidence };
      }),
      exec: bidiStream(async (call, { signal }) => {
        this.demandAttested();
        await exec(call, { workspace, commands, signal: this.eitherEnd(signal) });
      }),
      putFile: clientStream(async (call, { signal }) => {
        this.demandAttested();
        return receiveFile(call, workspace, this.eitherEnd(signal));
      }),
      getFile: serverStream(async (call, { signal }) => {
        this.demandAttested();
        await sendFile(call, workspace, this.eitherEnd(signal));
      }),
      getStatus: unary(async () => {
        this.demandAttested();
        return this.options.status();
      }),
    };
  }

  /** The client has to have had the chance to check who is here before anything of its user's is taken. */
  private demandAttested(): void {
    if (this.attested) return;
    throw new RpcError('session.not_attested', status.FAILED_PRECONDITION, 'expected Attest to have succeeded on this connection');
  }

  private eitherEnd(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.closing.signal]);
  }
}
