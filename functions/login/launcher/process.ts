import { channelCredentials } from '../../../runtime/rpc/address';
import type { Address } from '../../../runtime/rpc/address';
import { callUnary } from '../../../runtime/rpc/client';
import { RpcError } from '../../../runtime/rpc/errors';
import { status } from '@grpc/grpc-js';
import { LauncherServiceClient } from '../../../proto/gen/licensing/v1/launcher';
import { LoginStage } from '../../../proto/gen/licensing/v1/login';
import type { Enclave, LaunchOptions, Launcher, Running } from './launcher';
import { systemClock } from '../../../runtime/clock';
import type { Clock } from '../../../runtime/clock';
import type { EnclaveId } from '../../../attestation/evidence/enclave-name';
import { channelTo } from '../../../runtime/rpc/proxy';

const ENSURE_MS = 60_000;
const STOP_MS = 10_000;
/** One that is starting is waited for before it is ended. */
const REMOVE_MS = 90_000;
const FIND_MS = 5_000;
/** An answer that comes sooner needed no wait worth telling. */
const WAIT_MS = 100;

/** Enclaves as processes of one machine, by LauncherService. */
export class ProcessLauncher implements Launcher {
  /** Each has a folder that stays. */
  readonly persistent = true;
  private readonly client: LauncherServiceClient;

  constructor(
    address: Address,
    private readonly clock: Clock = systemClock,
  ) {
    const backOff = { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 1_000 };
    const to = channelTo(address);
    this.client = new LauncherServiceClient(to.target, channelCredentials(address), { ...backOff, ...to.options });
  }

  async ensure(enclave: EnclaveId, { onStage, signal }: LaunchOptions): Promise<Enclave> {
    const waiting = this.clock.after(WAIT_MS, () => onStage(LoginStage.LOGIN_STAGE_STARTING));
    try {
      return await callUnary(this.client, this.client.ensureEnclave, enclave, { timeout: ENSURE_MS, signal });
    } catch (cause) {
      signal.throwIfAborted();
      const reason =
        cause instanceof RpcError && !cause.code.startsWith('rpc.') ? cause.message : "the launcher doesn't answer";
      throw new RpcError(
        'login.enclave_unavailable',
        status.UNAVAILABLE,
        `your enclave could not be started: ${reason}`,
        { cause },
      );
    } finally {
      waiting.cancel();
    }
  }

  async discard(enclave: EnclaveId, { workloadUid }: Enclave): Promise<void> {
    await callUnary(this.client, this.client.stopEnclave, { ...enclave, workloadUid }, { timeout: STOP_MS });
  }

  async find(user: string, names: string[]): Promise<Map<string, Running>> {
    const { node, running } = await callUnary(this.client, this.client.findEnclaves, { user }, { timeout: FIND_MS });
    return new Map(running.filter((name) => names.includes(name)).map((name) => [name, { serves: true, node }]));
  }

  async stop(enclave: EnclaveId): Promise<void> {
    await callUnary(this.client, this.client.stopEnclave, { ...enclave, workloadUid: '' }, { timeout: REMOVE_MS });
  }

  async remove(enclave: EnclaveId): Promise<void> {
    await callUnary(this.client, this.client.removeEnclave, enclave, { timeout: REMOVE_MS });
  }

  async removeAll(user: string): Promise<void> {
    await callUnary(this.client, this.client.removeEnclave, { user, name: '' }, { timeout: REMOVE_MS });
  }

  close(): void {
    this.client.close();
  }
}
