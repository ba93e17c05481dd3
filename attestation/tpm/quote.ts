import type { ByteReader } from '../bytes/reader';
import { hex16, TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE } from './constants';
import { parseWhole, TpmError } from './errors';
import { readPcrSelections } from './pcr';
import type { PcrSelection } from './pcr';

/** TPMS_CLOCK_INFO (Part 2, 10.11.1). */
export interface ClockInfo {
  /** Milliseconds that the TPM was powered. */
  clock: bigint;
  /** TPM resets since the last TPM2_Clear. */
  resetCount: number;
  restartCount: number;
  /** False: after an unorderly shutdown `clock` may have been reported before. */
  safe: boolean;
}

/** TPMS_ATTEST (Part 2, 10.12.12) with a TPMS_QUOTE_INFO (10.12.4). */
export interface Quote {
  /** Qualified Name of the key that signed. */
  qualifiedSigner: Buffer;
  /** qualifyingData of TPM2_Quote. */
  extraData: Buffer;
  clockInfo: ClockInfo;
  firmwareVersion: bigint;
  pcrSelections: PcrSelection[];
  pcrDigest: Buffer;
}

/** Size of TPMT_HA with the largest hash: no TPM2B_NAME or TPM2B_DATA is longer (Part 2, 10.4.3 and 10.5.3). */
const MAX_HA_BYTES = 2 + 64;
const MAX_DIGEST_BYTES = 64;

/**
 * Parses the TPMS_ATTEST of a quote. `magic` and `type` come first: anything else than a quote that a TPM made is refused
 * before the rest is looked at.
 * @throws TpmError
 */
export function parseQuote(bytes: Uint8Array): Quote {
  return parseWhole(bytes, 'TPMS_ATTEST', (reader) => {
    const magic = reader.u32();
    if (magic !== TPM_GENERATED_VALUE) {
      throw new TpmError(
        'tpm.magic',
        `TPMS_ATTEST: expected magic 0x${TPM_GENERATED_VALUE.toString(16)}, got 0x${magic.toString(16)}`,
      );
    }
    const type = reader.u16();
    if (type !== TPM_ST_ATTEST_QUOTE) {
      throw new TpmError(
        'tpm.attest_type',
        `TPMS_ATTEST: expected type ${hex16(TPM_ST_ATTEST_QUOTE)} (quote), got ${hex16(type)}`,
      );
    }
    return {
      qualifiedSigner: sizedUpTo(reader, MAX_HA_BYTES, 'qualifiedSigner'),
      extraData: sizedUpTo(reader, MAX_HA_BYTES, 'extraData'),
      clockInfo: { clock: reader.u64(), resetCount: reader.u32(), restartCount: reader.u32(), safe: yesNo(reader) },
      firmwareVersion: reader.u64(),
      pcrSelections: readPcrSelections(reader),
      pcrDigest: sizedUpTo(reader, MAX_DIGEST_BYTES, 'pcrDigest'),
    };
  });
}

function sizedUpTo(reader: ByteReader, max: number, field: string): Buffer {
  const value = reader.sized();
  if (value.length > max)
    throw new TpmError('tpm.invalid', `TPMS_ATTEST: expected ${field} of ${max} bytes at most, got ${value.length}`);
  return value;
}

/** TPMI_YES_NO (Part 2, 9.2): nothing but 0 and 1. */
function yesNo(reader: ByteReader): boolean {
  const value = reader.u8();
  if (value > 1) throw new TpmError('tpm.invalid', `TPMS_CLOCK_INFO: expected safe to be 0 or 1, got ${value}`);
  return value === 1;
}
