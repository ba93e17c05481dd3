import { createHash, randomBytes } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { channelCredentials, grpcTarget } from '../../runtime/rpc/address';
import type { Address } from '../../runtime/rpc/address';
import { fromServiceError } from '../../runtime/rpc/errors';
import { AttestorServiceClient } from '../../proto/gen/licensing/v1/attestor';
import type { AttestRequest, AttestResponse } from '../../proto/gen/licensing/v1/attestor';
import { Purpose } from '../../proto/gen/licensing/v1/evidence';

/** One workload's stream to an attestor. */
export class AttestStream {
  private readonly call: ClientDuplexStream<AttestRequest, AttestResponse>;
  private readonly waiting = new Map<bigint, (result: AttestResponse['result']) => void>();
  private nextId = 1n;
  /** How the stream ended: undefined for in order. */
  readonly ended: Promise<Error | undefined>;

  constructor(
    client: AttestorServiceClient,
    credential: string | undefined,
    private readonly certificate: Buffer,
    /** Metadata "certificate-sha256". */
    shown?: string,
  ) {
    const metadata = new Metadata();
    if (shown !== undefined) metadata.set('certificate-sha256', shown);
    if (credential !== undefined) metadata.set('authorization', credential);
    this.call = client.attest(metadata);
    this.call.on('data', ({ id, result }: AttestResponse) => {
      this.waiting.get(id)?.(result);
      this.waiting.delete(id);
    });
    this.ended = new Promise((resolve) => {
      this.call.on('error', (error: ServiceError) => resolve(fromServiceError(error)));
      this.call.on('end', () => resolve(undefined));
    });
  }

  /** Resolves with the answer; rejects when the stream ends without one. */
  async ask(fields: Partial<AttestRequest> = {}): Promise<AttestResponse['result']> {
    const request: AttestRequest = {
      id: this.nextId++,
      purpose: Purpose.PURPOSE_CERTIFICATE,
      nonce: randomBytes(32),
      clientKeySha256: createHash('sha256').update('client key').digest(),
      certificate: this.certificate,
      tlsExporter: Buffer.alloc(0),
      includeEventLog: false,
      traceparent: '',
      ...fields,
    };
    const answer = new Promise<AttestResponse['result']>((resolve) => this.waiting.set(request.id, resolve));
    this.call.write(request);
    const ended = this.ended.then((error) => {
      throw error ?? new Error('the stream ended');
    });
    return Promise.race([answer, ended]);
  }

  end(): void {
    this.call.end();
  }

  cancel(): void {
    this.call.cancel();
  }
}

export function attestorClient(address: Address): AttestorServiceClient {
  return new AttestorServiceClient(grpcTarget(address), channelCredentials(address));
}
