import { openAccountBackend } from '../../core/accounts/backend';
import { watchBackend } from '../../core/accounts/metrics';
import { countingRefusals } from '../../core/audit/counted';
import { readEnvironment } from '../../core/config/environment';
import { readTls } from '../../core/config/listen';
import { writeReadyFile } from '../../core/config/ready-file';
import { openMetrics } from '../../core/metrics/open';
import { readOidcSettings } from '../../core/oidc/settings';
import { runProgram } from '../../core/rpc/program';
import { startServer } from '../../core/rpc/server';
import { AccountServiceService } from '../../proto/gen/licensing/v1/account';
import { accountService } from './service';
import { signupSettings } from './settings';

runProgram(async () => {
  const settings = readEnvironment(signupSettings);
  const oidc = readOidcSettings(settings);
  const [tls, metrics] = await Promise.all([readTls(settings), openMetrics(settings)]);
  const backend = await openAccountBackend(settings, 'signup');
  if (metrics) watchBackend(metrics, backend);
  const server = await startServer({
    address: settings.LISTEN,
    tls,
    observer: metrics,
    services: countingRefusals(backend.refusals, [{ definition: AccountServiceService, implementation: accountService(backend, oidc) }]),
  });
  await writeReadyFile(settings.READY_FILE, { listen: server.port });
  return async () => {
    await server.stop();
    metrics?.close();
    await backend.close();
  };
});
