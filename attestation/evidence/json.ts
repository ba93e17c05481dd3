import { z } from 'zod';
import { Evidence } from '../../proto/gen/licensing/v1/evidence';
import { MAX_EVENT_LOG_BYTES } from '../tpm/event-log/constants';
import { CodedError } from '../../errors/coded-error';
import type { EvidenceFileCode } from '../../errors/verifier';

/** A file that holds no evidence. Whether evidence that was read is good is verifyEvidence's question. */
export class EvidenceFileError extends CodedError<EvidenceFileCode> {
  override readonly name = 'EvidenceFileError';
}

/** Longest file that is read, in characters: the largest event log in base64, and ten times what the largest tree makes. */
const MAX_FILE_LENGTH = Math.ceil(MAX_EVENT_LOG_BYTES / 3) * 4 + 256 * 1024;

/** Base64 in its one padded form: protobuf's JSON readers would take others, and then two texts would be one value. */
const bytes = z
  .string()
  .refine((text) => Buffer.from(text, 'base64').toString('base64') === text, 'expected padded base64');
const uint32 = z.int().min(0).max(0xffffffff);

/** The protobuf JSON form of licensing.v1.Evidence; zero values may be left out, as protobuf does. */
const evidenceSchema = z.object({
  attest: bytes,
  signature: bytes,
  akPublic: bytes,
  akCertificates: z.array(bytes).max(16),
  pcrs: z.array(z.object({ index: uint32.default(0), sha256: bytes })).max(32),
  claims: bytes,
  leafIndex: uint32.default(0),
  leafCount: uint32.default(0),
  merklePath: z.array(bytes).max(32).default([]),
  enclaveCertificate: bytes,
  eventLog: bytes.optional(),
});

/** One evidence as a file: the protobuf's JSON form, two spaces, a newline at the end. */
export function writeEvidenceJson(evidence: Evidence): string {
  return `${JSON.stringify(Evidence.toJSON(evidence), null, 2)}\n`;
}

/**
 * Reads what writeEvidenceJson wrote, of a newer release as well: fields that aren't known are passed over. Another type is an error that names the field.
 * Nothing in it is verified yet.
 * @example const evidence = readEvidenceJson(readFileSync('evidence.json', 'utf8'));
 * @throws EvidenceFileError
 */
export function readEvidenceJson(text: string): Evidence {
  if (text.length > MAX_FILE_LENGTH)
    throw new EvidenceFileError(
      'evidence_file.too_large',
      `expected ${MAX_FILE_LENGTH} characters at most, got ${text.length}`,
    );
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new EvidenceFileError('evidence_file.not_json', 'expected JSON, got something else', { cause: error });
  }
  const result = evidenceSchema.safeParse(json);
  if (!result.success) {
    const lines = result.error.issues
      .slice(0, 3)
      .map((issue) => `${issue.path.join('.') || 'evidence'}: ${issue.message}`);
    throw new EvidenceFileError(
      'evidence_file.malformed',
      `expected evidence, got a file with errors: ${lines.join('; ')}`,
    );
  }
  return Evidence.fromJSON(result.data);
}
