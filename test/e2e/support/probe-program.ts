import { Metadata } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { channelCredentials, grpcTarget, parseAddress } from '../../../runtime/rpc/address';
import { fromServiceError } from '../../../runtime/rpc/errors';
import { AttestorServiceClient } from '../../../proto/gen/licensing/v1/attestor';
import type { AttestResponse } from '../../../proto/gen/licensing/v1/attestor';
import { Claims, Purpose } from '../../../proto/gen/licensing/v1/evidence';

/**
 * What an attacker on the node's socket does: asks the attestor with the token that comes on standard input, and prints what it gets:
 * {"code": REFUSAL} or {"claims": …}.
 */
async function main(): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  const token = Buffer.concat(parts).toString('utf8').trim();
  const address = parseAddress(process.argv[2] ?? '');
  const client = new AttestorServiceClient(grpcTarget(address), channelCredentials(address));
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  const stream = client.attest(metadata, { deadline: Date.now() + 20_000 });
  const answer = (text: object): void => {
    process.stdout.write(`${JSON.stringify(text)}\n`);
    process.exit(0);
  };
  stream.on('error', (error: ServiceError) => answer({ code: fromServiceError(error).code }));
  stream.on('data', ({ result }: AttestResponse) => {
    if (result?.$case !== 'evidence') return answer({ code: result?.value.code });
    const { user, workloadUid, imageDigest, node } = Claims.decode(result.value.claims);
    answer({ claims: { user, workloadUid, imageDigest, node } });
  });
  stream.write({
    id: 1n,
    purpose: Purpose.PURPOSE_CERTIFICATE,
    nonce: Buffer.alloc(32, 1),
    clientKeySha256: Buffer.alloc(32, 2),
    certificate: Buffer.from(process.argv[3] ?? '', 'base64'),
    tlsExporter: Buffer.alloc(0),
    includeEventLog: false,
    traceparent: '',
  });
}

void main();
