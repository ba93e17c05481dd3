import { loadAccountFiles, openAccountBackend } from '../../licensing/accounts/backend';
import { watchBackend } from '../../licensing/accounts/metrics';
import { countRefusals } from '../../licensing/audit/count-refusals';
import { readEnvironment } from '../../runtime/config/environment';
import { openTls } from '../../runtime/config/listen';
import { writeReadyFile } from '../../runtime/config/ready-file';
import { openMetrics } from '../../runtime/metrics/open';
import { readOidcSettings } from '../../licensing/oidc/settings';
import { bearerAuthentication } from '../../licensing/sessions/bearer';
import { runProgram } from '../../runtime/rpc/program';
import type { Program } from '../../runtime/rpc/program';
import { startServer } from '../../runtime/rpc/server';
import { AccountServiceService } from '../../proto/gen/licensing/v1/account';
import { accountService } from './service';
import { signupSettings } from './settings';

async function load(program: Program) {
  const settings = readEnvironment(signupSettings);
  const oidc = readOidcSettings(settings);
  return { settings, oidc, tls: await openTls(settings, program), files: await loadAccountFiles(settings, program) };
}

async function run(
  { settings, oidc, tls, files }: Awaited<ReturnType<typeof load>>,
  { log, tracer, clock }: Program,
): Promise<() => Promise<void>> {
  const metrics = await openMetrics(settings);
  const backend = await openAccountBackend(settings, files, { program: 'signup', log, clock });
  if (metrics) watchBackend(metrics, backend);
  const server = await startServer({
    address: settings.LISTEN,
    tls,
    observer: metrics,
    log,
    tracer,
    proxies: settings.TRUSTED_PROXIES,
    interceptors: [countRefusals(backend.refusals)],
    authenticate: bearerAuthentication(backend),
    services: [{ definition: AccountServiceService, implementation: accountService(backend, oidc) }],
  });
  await writeReadyFile(settings.READY_FILE, { listen: server.port });
  return async () => {
    await server.stop();
    metrics?.close();
    await backend.close();
  };
}

runProgram({ load, run });
