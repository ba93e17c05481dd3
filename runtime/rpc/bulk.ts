import { makeGenericClientConstructor } from '@grpc/grpc-js';
import type { EnclaveServiceClient } from '../../proto/gen/licensing/v1/enclave';
import { EnclaveServiceService } from '../../proto/gen/licensing/v1/enclave';
import type { SessionServiceClient } from '../../proto/gen/licensing/v1/session';
import { SessionServiceService } from '../../proto/gen/licensing/v1/session';

/** Wire type of byte strings (protobuf encoding, "Message structure"). */
const LENGTH_DELIMITED = 2;

type Serialize<T> = (message: T) => Buffer;
type Deserialize<T> = (bytes: Buffer) => T;

/** One field of byte strings in a message, which is all of it in the messages that carry bulk data. */
interface BulkField<T> {
  field: number;
  /** The bytes, where the message holds nothing but this field. */
  get(message: T): Buffer | undefined;
  make(bytes: Buffer): T;
}

/** The generated code copies bytes three times; this once, into the message. What is not one of the fields alone goes the generated way. */
function serializer<T>(generated: Serialize<T>, fields: ReadonlyArray<BulkField<T>>): Serialize<T> {
  return (message) => {
    for (const { field, get } of fields) {
      const bytes = get(message);
      if (bytes === undefined || bytes.length === 0) continue;
      const head = [(field << 3) | LENGTH_DELIMITED];
      for (let rest = bytes.length; ; rest >>>= 7) {
        head.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
        if (rest <= 0x7f) break;
      }
      return Buffer.concat([Buffer.from(head), bytes], head.length + bytes.length);
    }
    return generated(message);
  };
}

/** The generated code copies the bytes; here they are a part of the message's own. Only for messages that are one such field from the first byte to the last. */
function deserializer<T>(generated: Deserialize<T>, fields: ReadonlyArray<BulkField<T>>): Deserialize<T> {
  return (bytes) => {
    const known = fields.find(({ field }) => bytes[0] === ((field << 3) | LENGTH_DELIMITED));
    const start = known && bulkStart(bytes);
    return known && start !== undefined ? known.make(bytes.subarray(start)) : generated(bytes);
  };
}

/** Where the bytes of a message begin whose only field is a byte string; undefined for any other. */
function bulkStart(bytes: Buffer): number | undefined {
  let length = 0;
  // Four bytes of a varint are more than any message may have.
  for (let at = 1; at <= 4; at++) {
    const byte = bytes[at];
    if (byte === undefined) return undefined;
    length |= (byte & 0x7f) << (7 * (at - 1));
    if (byte < 0x80) return length > 0 && at + 1 + length === bytes.length ? at + 1 : undefined;
  }
  return undefined;
}

/** A case of a oneof that holds bytes. */
function oneofField<T>(field: number, oneof: string, $case: string): BulkField<T> {
  return {
    field,
    get: (message) => {
      const value = (message as Record<string, { $case: string; value: Buffer } | undefined>)[oneof];
      return value?.$case === $case ? value.value : undefined;
    },
    make: (value) => ({ [oneof]: { $case, value } }) as T,
  };
}

const DATA: BulkField<{ data: Buffer }> = { field: 1, get: ({ data }) => data, make: (data) => ({ data }) };

const { exec, putFile, getFile, forward } = SessionServiceService;
const stdin = [oneofField<Parameters<typeof exec.requestSerialize>[0]>(2, 'input', 'stdin')];
const output = [
  oneofField<Parameters<typeof exec.responseSerialize>[0]>(1, 'output', 'stdout'),
  oneofField<Parameters<typeof exec.responseSerialize>[0]>(2, 'output', 'stderr'),
];
const sent = [oneofField<Parameters<typeof putFile.requestSerialize>[0]>(2, 'part', 'data')];
const received = [oneofField<Parameters<typeof getFile.responseSerialize>[0]>(2, 'part', 'data')];
const forwarded = [oneofField<Parameters<typeof forward.requestSerialize>[0]>(2, 'part', 'data')];
const returned = [oneofField<Parameters<typeof forward.responseSerialize>[0]>(2, 'part', 'data')];

/** SessionService with a codec that copies bulk data less often. The bytes on the wire are the same. */
export const BulkSessionService = {
  ...SessionServiceService,
  exec: {
    ...exec,
    requestSerialize: serializer(exec.requestSerialize, stdin),
    requestDeserialize: deserializer(exec.requestDeserialize, stdin),
    responseSerialize: serializer(exec.responseSerialize, output),
    responseDeserialize: deserializer(exec.responseDeserialize, output),
  },
  putFile: {
    ...putFile,
    requestSerialize: serializer(putFile.requestSerialize, sent),
    requestDeserialize: deserializer(putFile.requestDeserialize, sent),
  },
  getFile: {
    ...getFile,
    responseSerialize: serializer(getFile.responseSerialize, received),
    responseDeserialize: deserializer(getFile.responseDeserialize, received),
  },
  forward: {
    ...forward,
    requestSerialize: serializer(forward.requestSerialize, forwarded),
    requestDeserialize: deserializer(forward.requestDeserialize, forwarded),
    responseSerialize: serializer(forward.responseSerialize, returned),
    responseDeserialize: deserializer(forward.responseDeserialize, returned),
  },
} as const;

const { tunnel } = EnclaveServiceService;

/** EnclaveService, likewise. */
export const BulkEnclaveService = {
  ...EnclaveServiceService,
  tunnel: {
    ...tunnel,
    requestSerialize: serializer(tunnel.requestSerialize, [DATA]),
    requestDeserialize: deserializer(tunnel.requestDeserialize, [DATA]),
    responseSerialize: serializer(tunnel.responseSerialize, [DATA]),
    responseDeserialize: deserializer(tunnel.responseDeserialize, [DATA]),
  },
} as const;

export type BulkSessionServiceClient = SessionServiceClient;
export const BulkSessionServiceClient = makeGenericClientConstructor(
  BulkSessionService,
  'licensing.v1.SessionService',
) as unknown as typeof SessionServiceClient;

export type BulkEnclaveServiceClient = EnclaveServiceClient;
export const BulkEnclaveServiceClient = makeGenericClientConstructor(
  BulkEnclaveService,
  'licensing.v1.EnclaveService',
) as unknown as typeof EnclaveServiceClient;
