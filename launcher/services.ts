import type { TrustBundle } from '../attestation/trust/bundle';
import type { Installation } from './installation';
import { choosePort } from './ports';

/** What signup and login listen on. */
export const HOST = '127.0.0.1';

/** Where clients find the services: on the ports of the runs before, as long as these are free. */
export async function chooseServices(
  installation: Installation,
  report: (line: string) => void,
): Promise<TrustBundle['services']> {
  const { ports } = installation.record;
  const services = { signup: '', login: '' };
  for (const name of ['signup', 'login'] as const) {
    const port = await choosePort(HOST, ports[name]);
    if (ports[name] !== undefined && ports[name] !== port) {
      report(
        `port ${ports[name]} of ${name} is taken: it moves to ${port}, and clients need a new copy of the trust bundle`,
      );
    }
    ports[name] = port;
    services[name] = `https://localhost:${port}`;
  }
  await installation.saveRecord();
  return services;
}
