import { openAccountBackend } from '../../core/accounts/backend';
import { openAuthority } from '../../core/certificates/authority';
import { ConfigError, readEnvironment } from '../../core/config/environment';
import { readSettingFile, readTls } from '../../core/config/listen';
import { writeReadyFile } from '../../core/config/ready-file';
import { runProgram } from '../../core/rpc/program';
import { startServer } from '../../core/rpc/server';
import { LoginServiceService } from '../../proto/gen/licensing/v1/login';
import type { Launcher } from './launcher/launcher';
import { ProcessLauncher } from './launcher/process';
import { loginService } from './service';
import { loginSettings } from './settings';

async function openLauncher({ LAUNCHER, LAUNCHER_ADDRESS }: { LAUNCHER: string; LAUNCHER_ADDRESS?: ProcessAddress }): Promise<Launcher> {
  // Loaded when it is wanted: the Kubernetes client costs a start from zero what nothing else here does.
  if (LAUNCHER === 'knative') return (await import('./launcher/knative')).knativeLauncher();
  if (LAUNCHER_ADDRESS === undefined) throw new ConfigError('LAUNCHER_ADDRESS: expected an address, because LAUNCHER is process');
  return new ProcessLauncher(LAUNCHER_ADDRESS);
}

type ProcessAddress = ConstructorParameters<typeof ProcessLauncher>[0];

runProgram(async () => {
  const settings = readEnvironment(loginSettings);
  const tls = await readTls(settings);
  const authority = await openAuthority({
    certificate: (await readSettingFile('CLIENT_CA_CERTIFICATE_FILE', settings.CLIENT_CA_CERTIFICATE_FILE)).toString('utf8'),
    privateKey: (await readSettingFile('CLIENT_CA_KEY_FILE', settings.CLIENT_CA_KEY_FILE)).toString('utf8'),
  }).catch((error: unknown) => {
    if (error instanceof TypeError) throw new ConfigError(`CLIENT_CA_KEY_FILE, CLIENT_CA_CERTIFICATE_FILE: ${error.message}`, { cause: error });
    throw error;
  });
  const launcher = await openLauncher(settings);
  const backend = await openAccountBackend(settings, 'login');
  const server = await startServer({
    address: settings.LISTEN,
    tls,
    services: [{ definition: LoginServiceService, implementation: loginService({ backend, authority, launcher }) }],
  });
  await writeReadyFile(settings.READY_FILE, { listen: server.port });
  return async () => {
    await server.stop();
    await backend.close();
  };
});
