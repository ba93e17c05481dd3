import type { ByteReader } from '../bytes/reader';
import { sha256 } from '../crypto';
import { hex16, TPM_ALG } from './constants';
import { parseWhole, TpmError } from './errors';

/**
 * A quote covers these, always, in the SHA-256 bank: what firmware (0 to 7), boot loader and kernel stub (8 to 15) measured (PC Client Platform
 * Firmware Profile, 3.3.4; UAPI "Linux TPM PCR Registry"), and the application's own PCR.
 */
export const QUOTED_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 23];

/** What attestors of release 0.1 quote. Their evidence stays verifiable; it can't meet a golden state that names a PCR of 8 to 15. */
const FIRMWARE_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 23];

/** The PCR that carries the Merkle root. Resettable by software (PC Client Platform TPM Profile), so a fresh root needs no reboot. */
export const ROOT_PCR = 23;

/** TPMS_PCR_SELECTION (Part 2, 10.6.2): one bank, its PCRs ascending. */
export interface PcrSelection {
  hash: number;
  pcrs: number[];
}

/** Part 2, 10.6.2: PCR_SELECT_MAX octets; 4 hold 32 PCRs, and no platform has more. */
const MAX_SELECT_BYTES = 4;
/** HASH_COUNT of an implementation is far under this. */
const MAX_BANKS = 16;

/** Reads a TPML_PCR_SELECTION (Part 2, 10.9.7). @throws TpmError */
export function readPcrSelections(reader: ByteReader): PcrSelection[] {
  const count = reader.u32();
  if (count > MAX_BANKS)
    throw new TpmError('tpm.invalid', `TPML_PCR_SELECTION: expected ${MAX_BANKS} banks at most, got ${count}`);
  return Array.from({ length: count }, () => {
    const hash = reader.u16();
    const size = reader.u8();
    if (size > MAX_SELECT_BYTES)
      throw new TpmError('tpm.invalid', `TPMS_PCR_SELECTION: expected ${MAX_SELECT_BYTES} octets at most, got ${size}`);
    const bits = reader.take(size);
    const pcrs: number[] = [];
    for (let pcr = 0; pcr < size * 8; pcr++) {
      if (((bits[pcr >> 3] ?? 0) >> (pcr & 7)) & 1) pcrs.push(pcr);
    }
    return { hash, pcrs };
  });
}

/** A TPML_PCR_SELECTION of one bank. Three octets: platforms take no fewer (PC Client Platform TPM Profile, 4.6.2), and no PCR above 23 is quoted. */
export function encodePcrSelection({ hash, pcrs }: PcrSelection): Buffer {
  const bytes = Buffer.from([0, 0, 0, 1, hash >> 8, hash & 0xff, 3, 0, 0, 0]);
  for (const pcr of pcrs) bytes.writeUInt8(bytes.readUInt8(7 + (pcr >> 3)) | (1 << (pcr & 7)), 7 + (pcr >> 3));
  return bytes;
}

/** Parses a TPML_PCR_SELECTION that stands alone. @throws TpmError */
export function parsePcrSelections(bytes: Uint8Array): PcrSelection[] {
  return parseWhole(bytes, 'TPML_PCR_SELECTION', readPcrSelections);
}

/** The PCRs of a selection that is QUOTED_PCRS, or what earlier attestors quote, in the SHA-256 bank with nothing beside it; undefined for any other. */
export function quotedPcrs(selections: readonly PcrSelection[]): readonly number[] | undefined {
  const [only, ...others] = selections;
  if (only === undefined || others.length > 0 || only.hash !== TPM_ALG.SHA256) return undefined;
  return [QUOTED_PCRS, FIRMWARE_PCRS].find((pcrs) => pcrs.join() === only.pcrs.join());
}

/** sha256:0,1,7 as tpm2-tools write it; an empty text for no selection. */
export function describeSelections(selections: readonly PcrSelection[]): string {
  return selections
    .map(
      ({ hash, pcrs }) =>
        `${hash === TPM_ALG.SHA256 ? 'sha256' : hash === TPM_ALG.SHA1 ? 'sha1' : hex16(hash)}:${pcrs.join(',')}`,
    )
    .join('+');
}

/** The pcrDigest of a quote (Part 3, 18.4 TPM2_Quote): SHA-256 over the selected values, ascending. */
export function pcrDigest(values: readonly Uint8Array[]): Buffer {
  return sha256(...values);
}

/** What TPM2_PCR_Extend leaves in a PCR (Part 1, 17.5): SHA-256(old || digest). Both are 32 bytes. */
export function extendPcr(old: Uint8Array, digest: Uint8Array): Buffer {
  return sha256(old, digest);
}

/** ROOT_PCR after a reset and one extension by the root (32 bytes). */
export function rootPcrValue(root: Uint8Array): Buffer {
  return extendPcr(Buffer.alloc(32), root);
}
