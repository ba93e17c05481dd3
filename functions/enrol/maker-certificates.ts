import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { distFolder } from '../../runtime/config/dist';
import { splitCertificates } from '../../attestation/certificates/pem';
import { decodeUtf8 } from '../../runtime/text/utf8';

/** PEM, one certificate each. */
interface MakerCertificates {
  roots: string[];
  /** Believed only where they lead to a root. */
  intermediates: string[];
}

/** What ships with the project: the folder trust/ beside dist/ (see its README files for makers and sources). */
export function shippedMakerCertificates(): MakerCertificates {
  const folder = join(distFolder(), '..', 'trust');
  return {
    roots: readPemFolder(join(folder, 'ek-roots')),
    intermediates: readPemFolder(join(folder, 'ek-intermediates')),
  };
}

/** Every certificate of every .pem and .crt file in a folder, which has to be there. */
export function readPemFolder(folder: string): string[] {
  const files = readdirSync(folder)
    .filter((name) => /\.(pem|crt)$/.test(name))
    .sort();
  return files.flatMap((name) => splitCertificates(decodeUtf8(readFileSync(join(folder, name)), name)));
}
