import type { ByteReader } from '../bytes/reader';
import { hex16, TPM_ALG, TPM_CAP_HANDLES, TPM_ST_NO_SESSIONS, TPM_ST_SESSIONS } from './constants';
import { parseWhole, TpmError } from './errors';
import { readPcrSelections } from './pcr';

/** Tag, size, code (Part 1, 18.3): what every response begins with. */
export const RESPONSE_HEADER_BYTES = 10;
/** MAX_RESPONSE_SIZE of TPMs, and what the kernel's driver reads (TPM_BUFSIZE). */
export const MAX_RESPONSE_BYTES = 4096;

const MAX_HANDLES = 254;
const MAX_DIGESTS = 8;
const SHA256_BYTES = 32;

/** Where the response's end is. @param header its first bytes, RESPONSE_HEADER_BYTES or more @throws TpmError for more than any TPM sends, or less */
export function responseSize(header: Uint8Array): number {
  const size = Buffer.from(header.buffer, header.byteOffset, header.length).readUInt32BE(2);
  if (size < RESPONSE_HEADER_BYTES || size > MAX_RESPONSE_BYTES)
    throw new TpmError(
      'tpm.invalid',
      `response: expected a size of ${RESPONSE_HEADER_BYTES} to ${MAX_RESPONSE_BYTES} bytes, got ${size}`,
    );
  return size;
}

/** The TPM_RC of a whole response; 0 is success. @throws TpmError */
export function responseCode(bytes: Uint8Array): number {
  return parseWhole(bytes, 'response', (reader) => {
    const code = readHeader(reader).code;
    reader.take(reader.remaining);
    return code;
  });
}

/** TPM2_PCR_Reset, TPM2_PCR_Extend: nothing beside the success. @throws TpmError */
export function parseEmpty(bytes: Uint8Array): void {
  parseAuthorized(bytes, 'response', () => undefined);
}

/** TPM2_Quote (Part 3, 18.4): TPMS_ATTEST, and TPMT_SIGNATURE as it stands. @throws TpmError */
export function parseQuoteResponse(bytes: Uint8Array): { attest: Buffer; signature: Buffer } {
  return parseAuthorized(bytes, 'TPM2_Quote response', (reader) => {
    const attest = reader.sized();
    // Whoever parses the signature sees whether it ends where the parameters do.
    return { attest, signature: reader.take(reader.remaining) };
  });
}

/** TPM2_PCR_Read (Part 3, 22.4): the PCRs of the SHA-256 bank that were read, as many as fit, with their values. @throws TpmError */
export function parsePcrReadResponse(bytes: Uint8Array): Map<number, Buffer> {
  const what = 'TPM2_PCR_Read response';
  return parsePlain(bytes, what, (reader) => {
    reader.u32(); // pcrUpdateCounter
    const [selection, ...others] = readPcrSelections(reader);
    const count = reader.u32();
    if (count > MAX_DIGESTS)
      throw new TpmError('tpm.invalid', `${what}: expected ${MAX_DIGESTS} values at most, got ${count}`);
    const values = Array.from({ length: count }, () => reader.sized());
    const fitting = values.every((value) => value.length === SHA256_BYTES) && selection?.pcrs.length === count;
    if (others.length > 0 || selection?.hash !== TPM_ALG.SHA256 || !fitting)
      throw new TpmError(
        'tpm.invalid',
        `${what}: expected a SHA-256 value for each PCR that it names, got something else`,
      );
    return new Map(selection.pcrs.map((pcr, at) => [pcr, values[at] as Buffer]));
  });
}

/** TPM2_GetCapability of handles (Part 3, 30.2): TPML_HANDLE (Part 2, 10.9.3). @throws TpmError */
export function parseHandlesResponse(bytes: Uint8Array): number[] {
  const what = 'TPM2_GetCapability response';
  return parsePlain(bytes, what, (reader) => {
    reader.u8(); // moreData
    const capability = reader.u32();
    const count = reader.u32();
    if (capability !== TPM_CAP_HANDLES || count > MAX_HANDLES)
      throw new TpmError('tpm.invalid', `${what}: expected up to ${MAX_HANDLES} handles, got something else`);
    return Array.from({ length: count }, () => reader.u32());
  });
}

function readHeader(reader: ByteReader): { tag: number; code: number } {
  const [tag, size] = [reader.u16(), reader.u32()];
  const got = reader.remaining + 6;
  if (size !== got) throw new TpmError('tpm.invalid', `response: expected the ${size} bytes of its header, got ${got}`);
  return { tag, code: reader.u32() };
}

function readTag(reader: ByteReader, what: string, expected: number): void {
  const { tag } = readHeader(reader);
  if (tag !== expected)
    throw new TpmError('tpm.invalid', `${what}: expected tag ${hex16(expected)}, got ${hex16(tag)}`);
}

function parsePlain<T>(bytes: Uint8Array, what: string, read: (reader: ByteReader) => T): T {
  return parseWhole(bytes, what, (reader) => {
    readTag(reader, what, TPM_ST_NO_SESSIONS);
    return read(reader);
  });
}

/** Parameters, then the authorization area, which for TPM_RS_PW is an empty nonce, attributes and an empty HMAC (Part 1, 19.4). */
function parseAuthorized<T>(bytes: Uint8Array, what: string, read: (parameters: ByteReader) => T): T {
  return parseWhole(bytes, what, (reader) => {
    readTag(reader, what, TPM_ST_SESSIONS);
    const parameters = reader.take(reader.u32());
    const [nonce, , hmac] = [reader.sized(), reader.u8(), reader.sized()];
    if (nonce.length > 0 || hmac.length > 0)
      throw new TpmError('tpm.invalid', `${what}: expected the answer to a password, got that of a session`);
    return parseWhole(parameters, what, read);
  });
}
