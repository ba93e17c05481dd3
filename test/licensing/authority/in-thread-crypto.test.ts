import { webcrypto } from 'node:crypto';
import { inThreadCrypto } from '../../../licensing/authority/in-thread-crypto';
import { newKeyPair, P256 } from '../../../runtime/keys/key-pair';

const data = Buffer.from('what is signed');

test('a signature is one that the Web Crypto API verifies, a digest the same as its own', async () => {
  const { privateKey, publicKey } = await newKeyPair();
  for (const bytes of [data, new Uint8Array(data).buffer]) {
    const signature = await inThreadCrypto.subtle.sign(P256, privateKey, bytes);
    expect(signature.byteLength).toBe(64);
    expect(await webcrypto.subtle.verify(P256, publicKey, signature, bytes)).toBe(true);
    expect(await webcrypto.subtle.verify(P256, publicKey, signature, Buffer.from('another'))).toBe(false);
    expect(Buffer.from(await inThreadCrypto.subtle.digest('SHA-1', bytes))).toEqual(
      Buffer.from(await webcrypto.subtle.digest('SHA-1', bytes)),
    );
  }
});

test('anything else is refused', async () => {
  const { privateKey, publicKey } = await newKeyPair();
  const rejected = (work: Promise<unknown>) => expect(work).rejects.toThrow(TypeError);
  await rejected(inThreadCrypto.subtle.digest('SHA-256', data));
  await rejected(inThreadCrypto.subtle.sign({ ...P256, hash: 'SHA-1' }, privateKey, data));
  await rejected(inThreadCrypto.subtle.sign({ ...P256, name: 'RSA-PSS' }, privateKey, data));
  await rejected(inThreadCrypto.subtle.sign(P256, publicKey, data));
});
