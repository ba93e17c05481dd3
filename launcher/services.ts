import type { TrustBundle } from '../attestation/trust/bundle';
import type { Installation } from './installation';
import { choosePort } from './ports';

/** What signup and login listen on. */
export const HOST = '127.0.0.1';

/** Where the services of one run listen. */
export interface Services {
  ports: { signup: number; login: number };
  /** For clients. */
  addresses: TrustBundle['services'];
}

/**
 * Where clients find the services: on the ports of the first run. One that is taken is done without for this run alone, so that whoever kept a trust bundle finds
 * the services again at the next start.
 */
export async function chooseServices(installation: Installation, report: (line: string) => void): Promise<Services> {
  const { ports: kept } = installation.record;
  const ports = { signup: 0, login: 0 };
  for (const name of ['signup', 'login'] as const) {
    const usual = kept[name];
    ports[name] = await choosePort(HOST, usual, [...Object.values(kept), ...Object.values(ports)]);
    if (usual !== undefined && usual !== ports[name])
      report(
        `port ${usual} of ${name} is taken: in this run it is ${ports[name]}, and clients elsewhere need this run's trust bundle. To have ${usual} again, end what listens there, and start sls up again`,
      );
    kept[name] ??= ports[name];
  }
  await installation.saveRecord();
  const addressOf = (port: number): string => `https://localhost:${port}`;
  return { ports, addresses: { signup: addressOf(ports.signup), login: addressOf(ports.login) } };
}
