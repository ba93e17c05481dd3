import { createHash, KeyObject, sign, webcrypto } from 'node:crypto';

/**
 * The Web Crypto API for what an authority does for each certificate, in this thread: a P-256 signature takes 30 µs and a digest one, and to have another
 * thread do it takes several times as much of the processor. It does nothing else.
 */
export const inThreadCrypto = {
  getRandomValues: webcrypto.getRandomValues.bind(webcrypto),
  subtle: {
    /** SHA-1 alone: of key identifiers (RFC 5280, 4.2.1.2), of which nothing depends on its strength. */
    async digest(algorithm: string, data: BufferSource): Promise<ArrayBuffer> {
      if (algorithm !== 'SHA-1') throw new TypeError(`expected SHA-1, got ${algorithm}`);
      return wholeBuffer(createHash('sha1').update(bytesOf(data)).digest());
    },
    /** ECDSA with SHA-256 alone, r and s as Web Crypto has them. */
    async sign(
      algorithm: { name: string; hash: string | { name: string } },
      key: webcrypto.CryptoKey,
      data: BufferSource,
    ) {
      const hash = typeof algorithm.hash === 'string' ? algorithm.hash : algorithm.hash.name;
      if (algorithm.name !== 'ECDSA' || hash !== 'SHA-256' || !key.usages.includes('sign'))
        throw new TypeError(`expected ECDSA with SHA-256 and a key that signs, got ${algorithm.name} with ${hash}`);
      return wholeBuffer(sign('sha256', bytesOf(data), { key: KeyObject.from(key), dsaEncoding: 'ieee-p1363' }));
    },
  },
} as unknown as webcrypto.Crypto;

type BufferSource = ArrayBuffer | NodeJS.ArrayBufferView;

function bytesOf(data: BufferSource): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}

/** A buffer of its own: what is small comes out of a pool. */
function wholeBuffer(bytes: Buffer): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
