import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseTrustBundle } from '../../core/trust/bundle';
import type { TrustBundle } from '../../core/trust/bundle';
import { defaultInstallationFolder } from '../../launcher/folder';
import { CliError, EXIT } from './exit';
import { configFolder } from './folders';

export interface TrustOptions {
  /** --trust FILE */
  trust?: string;
  /** --server HOST: services at FUNCTION.HOST instead of where the bundle says. */
  server?: string;
}

/** Reads the trust bundle: --trust, SLS_TRUST, $XDG_CONFIG_HOME/sls/trust-bundle.json, the installation of `sls up` on this machine. */
export async function loadTrust(options: TrustOptions): Promise<TrustBundle> {
  const named = options.trust ?? process.env['SLS_TRUST'];
  const places =
    named !== undefined && named !== ''
      ? [named]
      : [join(configFolder(), 'trust-bundle.json'), join(defaultInstallationFolder(), 'trust-bundle.json')];
  for (const place of places) {
    const text = await readFile(place, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && place !== named) return undefined;
      throw new CliError(EXIT.usage, `can't read the trust bundle ${place}: ${error.code ?? error.message}`);
    });
    if (text === undefined) continue;
    let bundle: TrustBundle;
    try {
      bundle = parseTrustBundle(text);
    } catch (error) {
      throw new CliError(EXIT.usage, `${place} is not a trust bundle: ${(error as Error).message}`);
    }
    return options.server === undefined ? bundle : { ...bundle, services: servicesOf(options.server) };
  }
  throw new CliError(EXIT.usage, 'no trust bundle: without one nothing can be verified', {
    hint: `get it from your operator and put it at ${places[0]}, name it with --trust FILE, or start a service on this machine: sls up`,
  });
}

/** sls.example.com → https://signup.sls.example.com, https://login.sls.example.com; a scheme and a port are kept. */
export function servicesOf(host: string): TrustBundle['services'] {
  const [, scheme = 'https://', rest = ''] = /^(https?:\/\/)?(.*?)\/?$/.exec(host) ?? [];
  if (!/^[A-Za-z0-9.-]+(:\d+)?$/.test(rest)) {
    throw new CliError(EXIT.usage, `expected --server [http://|https://]HOST[:PORT], got ${JSON.stringify(host)}`);
  }
  return { signup: `${scheme}signup.${rest}`, login: `${scheme}login.${rest}` };
}
