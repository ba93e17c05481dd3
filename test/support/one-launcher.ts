import type { EnsureEnclaveResponse } from '../../proto/gen/licensing/v1/launcher';
import { LauncherServiceService } from '../../proto/gen/licensing/v1/launcher';
import type { LauncherServiceServer } from '../../proto/gen/licensing/v1/launcher';
import { unary } from '../../runtime/rpc/handlers';
import type { Implementation } from '../../runtime/rpc/handlers';
import { startServer } from '../../runtime/rpc/server';
import type { RunningServer } from '../../runtime/rpc/server';

/** A stand-in for the launcher that has one enclave, whoever asks, and neither starts nor ends any. @param path of its socket */
export function startOneLauncher(path: string, ensure: () => Promise<EnsureEnclaveResponse>): Promise<RunningServer> {
  const implementation: Implementation<LauncherServiceServer> = {
    ensureEnclave: unary(ensure),
    stopEnclave: unary(() => Promise.resolve({})),
    findEnclaves: unary(() => Promise.resolve({ node: '', running: [] })),
    removeEnclave: unary(() => Promise.resolve({})),
  };
  return startServer({
    address: { scheme: 'unix', path },
    services: [{ definition: LauncherServiceService, implementation }],
  });
}
