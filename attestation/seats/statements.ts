import { importSpki, sha256, signEcdsa, verifyEcdsa } from '../crypto';
import type { PrivateKey, PublicKey } from '../crypto';

/**
 * What is signed about seats with keys that are there for TLS. The first bytes keep each signature from meaning anything else; what TLS 1.3 signs
 * begins with 64 blanks (RFC 8446, 4.4.3).
 */
const PROOF = Buffer.from('sls seat v1\0', 'latin1');
const HEARTBEAT = Buffer.from('sls heartbeat v1\0', 'latin1');
const CLOSING = Buffer.from('sls closing v1\0', 'latin1');
const SIGNATURE_BYTES = 64;

/** Signs, with the client's key, that it wants a seat for the session of these claims. @returns IEEE P1363, 64 bytes */
export function signSeatProof(key: PrivateKey, claims: Uint8Array): Buffer {
  return signEcdsa(key, proofBytes(claims));
}

/** Never throws on hostile input. @param key the client certificate's */
export function verifySeatProof(key: PublicKey, claims: Uint8Array, proof: Uint8Array): boolean {
  return isSigned(key, proofBytes(claims), proof);
}

/** That a connection is open and has a seat. */
interface HeartbeatStatement {
  seat: string;
  /** 32 bytes. */
  tlsExporter: Buffer;
  /** Unix milliseconds. */
  at: number;
}

/** Signs a heartbeat with the key of the enclave's TLS certificate. @returns IEEE P1363, 64 bytes */
export function signHeartbeat(key: PrivateKey, statement: HeartbeatStatement): Buffer {
  return signEcdsa(key, heartbeatBytes(statement));
}

/** Never throws on hostile input. @param spki DER */
export function verifyHeartbeat(spki: Buffer, statement: HeartbeatStatement, heartbeat: Uint8Array): boolean {
  return isSigned(importSpki(spki), heartbeatBytes(statement), heartbeat);
}

/** That a connection which had a seat is closed: nothing runs by it, and nothing ever will. */
interface ClosingStatement {
  /** Of the installation that gave the seat. */
  trustDomain: string;
  seat: string;
  /** 32 bytes. */
  tlsExporter: Buffer;
  /** Unix milliseconds. */
  at: number;
}

/** Signs that a connection is closed, with the key of the enclave's TLS certificate. @returns IEEE P1363, 64 bytes */
export function signClosing(key: PrivateKey, statement: ClosingStatement): Buffer {
  return signEcdsa(key, closingBytes(statement));
}

/** Never throws on hostile input. @param spki DER */
export function verifyClosing(spki: Buffer, statement: ClosingStatement, closing: Uint8Array): boolean {
  return isSigned(importSpki(spki), closingBytes(statement), closing);
}

function proofBytes(claims: Uint8Array): Buffer {
  return Buffer.concat([PROOF, sha256(claims)]);
}

function heartbeatBytes({ seat, tlsExporter, at }: HeartbeatStatement): Buffer {
  return Buffer.concat([HEARTBEAT, Buffer.from(seat, 'latin1'), tlsExporter, uint64(at)]);
}

/** The name may be of any length, so its own stands before it: no two statements have the same bytes. */
function closingBytes({ trustDomain, seat, tlsExporter, at }: ClosingStatement): Buffer {
  const name = Buffer.from(trustDomain, 'latin1');
  return Buffer.concat([
    CLOSING,
    Buffer.from([name.length]),
    name,
    Buffer.from(seat, 'latin1'),
    tlsExporter,
    uint64(at),
  ]);
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function isSigned(key: PublicKey, bytes: Buffer, given: Uint8Array): boolean {
  return given.length === SIGNATURE_BYTES && verifyEcdsa(key, bytes, given);
}
