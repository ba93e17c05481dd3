import fc from 'fast-check';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { TpmError } from '../../../attestation/tpm/errors';
import { encodePcrSelection } from '../../../attestation/tpm/pcr';
import {
  parseEmpty,
  parseHandlesResponse,
  parsePcrReadResponse,
  parseQuoteResponse,
  responseCode,
  responseSize,
} from '../../../attestation/tpm/response';
import { sized, u16, u32, u8 } from '../../support/tpm-structures';

const SESSIONS = 0x8002;
const NO_SESSIONS = 0x8001;
/** What the answer to a password is: no nonce, continueSession, no HMAC. */
const PASSWORD = Buffer.concat([sized(Buffer.alloc(0)), u8(1), sized(Buffer.alloc(0))]);

function response(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([u16(tag), u32(10 + body.length), u32(0), body]);
}

const quoteParameters = [sized(Buffer.from('the attestation')), Buffer.from('the signature')];
function authorized(parameters: Buffer[], { size, end = PASSWORD }: { size?: number; end?: Buffer } = {}): Buffer {
  const all = Buffer.concat(parameters);
  return response(SESSIONS, u32(size ?? all.length), all, end);
}

const values: Buffer[] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
function pcrs({ hash = TPM_ALG.SHA256 as number, which = [0, 23], of = values } = {}): Buffer {
  const digests = Buffer.concat(of.map(sized));
  return response(NO_SESSIONS, u32(7), encodePcrSelection({ hash, pcrs: which }), u32(of.length), digests);
}

test('what a TPM answers is read', () => {
  expect(() => parseEmpty(authorized([]))).not.toThrow();
  expect(parseQuoteResponse(authorized(quoteParameters))).toEqual({
    attest: Buffer.from('the attestation'),
    signature: Buffer.from('the signature'),
  });
  expect([...parsePcrReadResponse(pcrs())]).toEqual([
    [0, values[0]],
    [23, values[1]],
  ]);
  expect(parseHandlesResponse(response(NO_SESSIONS, u8(0), u32(1), u32(1), u32(0x80000000)))).toEqual([0x80000000]);
  expect(responseCode(Buffer.concat([u16(NO_SESSIONS), u32(10), u32(0x922)]))).toBe(0x922);
  expect(responseSize(Buffer.concat([u16(NO_SESSIONS), u32(4096), u32(0)]))).toBe(4096);
});

test.each([
  [
    'a header whose size is not that of what came',
    () => responseCode(Buffer.concat([u16(SESSIONS), u32(11), u32(0)])),
    'tpm.invalid',
  ],
  ['half a header', () => responseCode(Buffer.alloc(9)), 'tpm.invalid'],
  ['more than any TPM sends', () => responseSize(Buffer.concat([u16(SESSIONS), u32(4097)])), 'tpm.invalid'],
  ['less than a header', () => responseSize(Buffer.concat([u16(SESSIONS), u32(9)])), 'tpm.invalid'],
  [
    'a quote without its authorization area',
    () => parseQuoteResponse(response(NO_SESSIONS, ...quoteParameters)),
    'tpm.invalid',
  ],
  [
    'a quote with parameters past their end',
    () => parseQuoteResponse(authorized(quoteParameters, { size: 3 })),
    'tpm.truncated',
  ],
  [
    'a quote whose parameters end past the response',
    () => parseQuoteResponse(authorized(quoteParameters, { size: 99 })),
    'tpm.truncated',
  ],
  [
    'a nonce, which passwords have none of',
    () =>
      parseQuoteResponse(
        authorized(quoteParameters, { end: Buffer.concat([sized(u8(1)), u8(1), sized(Buffer.alloc(0))]) }),
      ),
    'tpm.invalid',
  ],
  [
    'bytes behind the response',
    () => parseQuoteResponse(authorized(quoteParameters, { end: Buffer.concat([PASSWORD, u8(0)]) })),
    'tpm.trailing',
  ],
  [
    'an attestation that reaches past the parameters',
    () => parseQuoteResponse(authorized([sized(Buffer.alloc(8))], { size: 4 })),
    'tpm.truncated',
  ],
  ['parameters where none are', () => parseEmpty(authorized([u8(0)])), 'tpm.trailing'],
  ['values of the SHA-1 bank', () => parsePcrReadResponse(pcrs({ hash: TPM_ALG.SHA1 })), 'tpm.invalid'],
  ['fewer values than PCRs', () => parsePcrReadResponse(pcrs({ of: [values[0] as Buffer] })), 'tpm.invalid'],
  [
    'a value of another length',
    () => parsePcrReadResponse(pcrs({ of: [Buffer.alloc(20), values[1] as Buffer] })),
    'tpm.invalid',
  ],
  [
    'more values than a list holds',
    () =>
      parsePcrReadResponse(
        pcrs({ which: [0, 1, 2, 3, 4, 5, 6, 7, 8], of: Array.from({ length: 9 }, () => Buffer.alloc(32)) }),
      ),
    'tpm.invalid',
  ],
  [
    'more handles than a list holds',
    () => parseHandlesResponse(response(NO_SESSIONS, u8(0), u32(1), u32(255))),
    'tpm.invalid',
  ],
  ['another capability', () => parseHandlesResponse(response(NO_SESSIONS, u8(0), u32(6), u32(0))), 'tpm.invalid'],
])('%s is refused', (_what, read, code) => {
  expect(read).toThrowWithCode(code as 'tpm.invalid');
});

test('whatever bytes come, each reader ends with a typed error or a result', () => {
  const readers = [parseEmpty, parseQuoteResponse, parsePcrReadResponse, parseHandlesResponse, responseCode];
  const started = fc.constantFrom(authorized(quoteParameters), pcrs());
  const changed = fc
    .tuple(started, fc.array(fc.tuple(fc.nat(200), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }), fc.nat(200))
    .map(([bytes, changes, length]) => {
      const copy = Buffer.from(bytes);
      for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
      return copy.subarray(0, length > 100 ? copy.length : length);
    });
  fc.assert(
    fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      for (const read of readers) {
        try {
          read(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(TpmError);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});
