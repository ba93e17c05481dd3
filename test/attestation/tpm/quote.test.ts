import { TPM_ALG, TPM_ST_ATTEST_CERTIFY } from '../../../attestation/tpm/constants';
import {
  extendPcr,
  parsePcrSelections,
  pcrDigest,
  QUOTED_PCRS,
  quotedPcrs,
  rootPcrValue,
} from '../../../attestation/tpm/pcr';
import { parseQuote } from '../../../attestation/tpm/quote';
import { encodeAttest, encodeSelections, u32 } from '../../support/tpm-structures';

test('a quote is read field by field', () => {
  const quote = parseQuote(
    encodeAttest({
      extraData: Buffer.alloc(32, 1),
      clock: 77n,
      resetCount: 3,
      restartCount: 2,
      safe: 0,
      firmwareVersion: 9n,
    }),
  );
  expect(quote).toMatchObject({
    extraData: Buffer.alloc(32, 1),
    clockInfo: { clock: 77n, resetCount: 3, restartCount: 2, safe: false },
    firmwareVersion: 9n,
    pcrSelections: [{ hash: TPM_ALG.SHA256, pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 23] }],
  });
});

test('magic and type are refused before the rest is read', () => {
  expect(() => parseQuote(u32(0))).toThrowWithCode('tpm.magic');
  expect(() => parseQuote(encodeAttest({ magic: 0 }))).toThrowWithCode('tpm.magic');
  expect(() => parseQuote(encodeAttest({ type: TPM_ST_ATTEST_CERTIFY }).subarray(0, 6))).toThrowWithCode(
    'tpm.attest_type',
  );
});

test('lengths past the end, fields that are too long, bytes after it: a typed error', () => {
  const good = encodeAttest();
  for (let length = 0; length < good.length; length++)
    expect(() => parseQuote(good.subarray(0, length))).toThrowWithCode('tpm.truncated');
  expect(() => parseQuote(encodeAttest({ trailing: Buffer.alloc(1) }))).toThrowWithCode('tpm.trailing');
  expect(() => parseQuote(encodeAttest({ extraData: Buffer.alloc(67) }))).toThrowWithCode('tpm.invalid');
  expect(() => parseQuote(encodeAttest({ qualifiedSigner: Buffer.alloc(67) }))).toThrowWithCode('tpm.invalid');
  expect(() => parseQuote(encodeAttest({ pcrDigest: Buffer.alloc(65) }))).toThrowWithCode('tpm.invalid');
  expect(() => parseQuote(encodeAttest({ safe: 2 }))).toThrowWithCode('tpm.invalid');
});

test('fields as long as they may be are taken', () => {
  const longest = {
    extraData: Buffer.alloc(66),
    qualifiedSigner: Buffer.alloc(66),
    pcrDigest: Buffer.alloc(64),
    pcrSelections: Array.from({ length: 16 }, (_, at) => ({ hash: at, pcrs: [at] })),
  };
  expect(parseQuote(encodeAttest(longest))).toMatchObject(longest);
  const banks = Array.from({ length: 17 }, () => ({ hash: TPM_ALG.SHA256, pcrs: [0] }));
  expect(() => parsePcrSelections(encodeSelections(banks))).toThrowWithCode('tpm.invalid');
});

test('four thousand million banks cost nothing', () => {
  expect(() => parsePcrSelections(u32(0xffffffff))).toThrowWithCode('tpm.invalid');
  expect(() => parsePcrSelections(Buffer.from('00000001000bff', 'hex'))).toThrowWithCode('tpm.invalid');
});

test('PCRs 0 to 15 and 23 of the SHA-256 bank are the quoted selection, or 0 to 7 and 23 as release 0.1 quotes, and nothing else', () => {
  const selection = (...banks: { hash: number; pcrs: readonly number[] }[]): boolean =>
    quotedPcrs(parsePcrSelections(encodeSelections(banks))) !== undefined;
  const sha256 = { hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS };
  expect(selection(sha256)).toBe(true);
  expect(selection()).toBe(false);
  expect(selection({ hash: TPM_ALG.SHA256, pcrs: [] })).toBe(false);
  expect(selection({ hash: TPM_ALG.SHA1, pcrs: QUOTED_PCRS })).toBe(false);
  expect(selection({ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS.slice(1) })).toBe(false);
  expect(selection({ hash: TPM_ALG.SHA256, pcrs: QUOTED_PCRS.filter((pcr) => pcr !== 8) })).toBe(false);
  expect(selection({ hash: TPM_ALG.SHA256, pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 23] })).toBe(false);
  expect(selection({ hash: TPM_ALG.SHA256, pcrs: [...QUOTED_PCRS, 16] })).toBe(false);
  // A fourth octet with PCR 24, after all that are wanted.
  const raw = (hex: string): readonly number[] | undefined => quotedPcrs(parsePcrSelections(Buffer.from(hex, 'hex')));
  expect(raw('00000001000b04ffff8001')).toBeUndefined();
  expect(raw('00000001000b04ffff8000')).toBe(QUOTED_PCRS);
  expect(raw('00000001000b04ff008001')).toBeUndefined();
  expect(raw('00000001000b03ff0080')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 23]);
  expect(selection(sha256, sha256)).toBe(false);
  expect(selection(sha256, { hash: TPM_ALG.SHA1, pcrs: [] })).toBe(false);
});

test('extension and digest are SHA-256 over what is joined', () => {
  // sha256 of 32 zero bytes and 32 bytes 01, by another tool: printf | sha256sum
  expect(extendPcr(Buffer.alloc(32), Buffer.alloc(32, 1)).toString('hex')).toBe(
    '5c85955f709283ecce2b74f1b1552918819f390911816e7bb466805a38ab87f3',
  );
  expect(rootPcrValue(Buffer.alloc(32, 1))).toEqual(pcrDigest([Buffer.alloc(32), Buffer.alloc(32, 1)]));
});
