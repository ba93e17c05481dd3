import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { BulkEnclaveService, BulkSessionService } from '../../../runtime/rpc/bulk';
import { EnclaveServiceService } from '../../../proto/gen/licensing/v1/enclave';
import { SessionServiceService } from '../../../proto/gen/licensing/v1/session';
import type { ExecRequest, ExecResponse, PutFileRequest } from '../../../proto/gen/licensing/v1/session';

/** Lengths around the steps of a varint. */
const LENGTHS = [0, 1, 127, 128, 16_383, 16_384];
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
  fc.constantFrom(...LENGTHS).map((length) => Buffer.alloc(length, 7)),
);

const execRequest: fc.Arbitrary<ExecRequest> = fc.oneof(
  bytes.map((value): ExecRequest => ({ input: { $case: 'stdin', value } })),
  fc.string().map((value): ExecRequest => ({ input: { $case: 'signal', value } })),
  fc.constant<ExecRequest>({ input: { $case: 'stdinEnd', value: {} } }),
  fc.constant<ExecRequest>({ input: undefined }),
);
const execResponse: fc.Arbitrary<ExecResponse> = fc.oneof(
  bytes.map((value): ExecResponse => ({ output: { $case: 'stdout', value } })),
  bytes.map((value): ExecResponse => ({ output: { $case: 'stderr', value } })),
  fc.integer().map((code): ExecResponse => ({ output: { $case: 'exit', value: { code, signal: '' } } })),
);
const putRequest: fc.Arbitrary<PutFileRequest> = fc.oneof(
  bytes.map((value): PutFileRequest => ({ part: { $case: 'data', value } })),
  fc.string().map((path): PutFileRequest => ({ part: { $case: 'header', value: { path, mode: 0o644, size: 5n } } })),
);

test('the bytes on the wire are those of the generated code', () => {
  fc.assert(
    fc.property(execRequest, (m) =>
      BulkSessionService.exec.requestSerialize(m).equals(SessionServiceService.exec.requestSerialize(m)),
    ),
  );
  fc.assert(
    fc.property(execResponse, (m) =>
      BulkSessionService.exec.responseSerialize(m).equals(SessionServiceService.exec.responseSerialize(m)),
    ),
  );
  fc.assert(
    fc.property(putRequest, (m) =>
      BulkSessionService.putFile.requestSerialize(m).equals(SessionServiceService.putFile.requestSerialize(m)),
    ),
  );
  fc.assert(
    fc.property(bytes, (data) =>
      BulkEnclaveService.tunnel
        .requestSerialize({ data })
        .equals(EnclaveServiceService.tunnel.requestSerialize({ data })),
    ),
  );
});

/** What a deserializer makes of the bytes: a message, or that it throws. */
function outcome<T>(deserialize: (bytes: Buffer) => T, input: Buffer): T | string {
  try {
    return deserialize(input);
  } catch {
    return 'throws';
  }
}

test('any bytes are read as the generated code reads them', () => {
  const valid = [
    execRequest.map((m) => SessionServiceService.exec.requestSerialize(m)),
    execResponse.map((m) => SessionServiceService.exec.responseSerialize(m)),
    putRequest.map((m) => SessionServiceService.putFile.requestSerialize(m)),
  ];
  // Messages, two messages in a row, cut ones, ones with a byte changed, and anything at all.
  const input = fc.oneof(
    ...valid,
    fc.tuple(fc.oneof(...valid), fc.oneof(...valid)).map((parts) => Buffer.concat(parts)),
    fc.tuple(fc.oneof(...valid), fc.nat(400)).map(([message, end]) => message.subarray(0, end)),
    fc.tuple(fc.oneof(...valid), fc.nat(12), fc.nat(255)).map(([message, at, value]) => {
      const changed = Buffer.from(message);
      if (at < changed.length) changed[at] = value;
      return changed;
    }),
    fc.uint8Array({ maxLength: 12 }).map((array) => Buffer.from(array)),
    fc
      .tuple(fc.constantFrom(0x0a, 0x12), fc.uint8Array({ maxLength: 12 }))
      .map(([tag, rest]) => Buffer.from([tag, ...rest])),
  );
  fc.assert(
    fc.property(input, (message) => {
      const pairs = [
        [BulkSessionService.exec.requestDeserialize, SessionServiceService.exec.requestDeserialize],
        [BulkSessionService.exec.responseDeserialize, SessionServiceService.exec.responseDeserialize],
        [BulkSessionService.putFile.requestDeserialize, SessionServiceService.putFile.requestDeserialize],
        [BulkSessionService.getFile.responseDeserialize, SessionServiceService.getFile.responseDeserialize],
        [BulkEnclaveService.tunnel.requestDeserialize, EnclaveServiceService.tunnel.requestDeserialize],
      ] as const;
      // Jest's own comparison of long buffers takes minutes.
      return pairs.every(([ours, generated]) =>
        isDeepStrictEqual(outcome<unknown>(ours, message), outcome<unknown>(generated, message)),
      );
    }),
    { numRuns: 2_000 },
  );
});
