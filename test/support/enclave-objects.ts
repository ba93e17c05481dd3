import { RpcError } from '../../runtime/rpc/errors';
import { status } from '@grpc/grpc-js';
import type { Enclave, Launcher } from '../../functions/login/launcher/launcher';
import { startEnclaveEndpoint } from './enclave-endpoint';
import type { EnclaveEndpoint } from './enclave-endpoint';
import type { EnclaveId } from '../../attestation/evidence/enclave-name';

/** A cluster as a launcher sees it, shared by replicas: enclaves that run, and files that are kept. Real endpoints answer for them. */
export class TestCluster {
  readonly running = new Map<string, EnclaveEndpoint>();
  readonly files = new Set<string>();
  /** What was asked of it: `remove USER/NAME`. */
  readonly asked: string[] = [];
  /** Thrown by what ends or removes anything. */
  failing = false;
  /** Waited for before an enclave is started. */
  beforeStart: (enclave: EnclaveId) => Promise<void> = () => Promise.resolve();
  /** Which enclave's evidence is given for which. */
  leadTo: (name: string) => string = (name) => name;
  private readonly all: EnclaveEndpoint[] = [];

  constructor(private readonly clientCa: () => string) {}

  readonly launcher: Partial<Launcher> = {
    persistent: true,
    ensure: async ({ user, name: wanted }) => {
      await this.beforeStart({ user, name: wanted });
      const name = this.leadTo(wanted);
      const key = `${user}/${name}`;
      this.files.add(key);
      const found = this.running.get(key);
      if (found) return found.location;
      return { ...(await this.start(user, name, key)), started: true };
    },
    find: (user, names) =>
      Promise.resolve(
        new Map(
          names
            .filter((name) => this.running.has(`${user}/${name}`))
            .map((name) => [name, { serves: true, node: 'node-a' }]),
        ),
      ),
    stop: ({ user, name }) => this.end('stop', `${user}/${name}`),
    discard: ({ user, name }) => this.end('discard', `${user}/${name}`),
    remove: async ({ user, name }) => {
      await this.end('remove', `${user}/${name}`);
      this.files.delete(`${user}/${name}`);
    },
    removeAll: async (user) => {
      await this.end('removeAll', user);
      for (const key of this.of(user)) {
        this.running.delete(key);
        this.files.delete(key);
      }
    },
  };

  /** Everything that there is of a user's. */
  of(user: string): string[] {
    return [...new Set([...this.running.keys(), ...this.files])].filter((key) => key.startsWith(`${user}/`)).sort();
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((endpoint) => endpoint.stop()));
  }

  private async start(user: string, name: string, key: string): Promise<Enclave> {
    const endpoint = await startEnclaveEndpoint({
      user,
      clientCa: this.clientCa(),
      claims: { enclave: name === 'default' ? '' : name },
    });
    this.all.push(endpoint);
    this.running.set(key, endpoint);
    return endpoint.location;
  }

  private end(verb: string, key: string): Promise<void> {
    this.asked.push(`${verb} ${key}`);
    if (this.failing)
      return Promise.reject(new RpcError('rpc.unavailable', status.UNAVAILABLE, 'the API server at 10.0.0.1 is away'));
    this.running.delete(key);
    return Promise.resolve();
  }
}
