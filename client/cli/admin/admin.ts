import type { Command } from 'commander';
import { addBoot } from '../admin-boot';
import { addAudit } from './audit';
import { addBackup, addRestore } from './backup';
import { addCertificate, addInit } from './init';
import { addLicences } from './licence';
import { addNodes } from './nodes';
import { addOrphans } from './orphans';
import { addRotate } from './rotate';
import { addKeys, addRevocations, addUser } from './subjects';
import { addTrustBundle } from './trust-bundle';

/** `sls admin …`: what operators do. */
export function addAdmin(program: Command): void {
  const admin = program.command('admin').description('administer an installation');
  for (const add of [
    addInit,
    addCertificate,
    addNodes,
    addOrphans,
    addUser,
    addKeys,
    addRevocations,
    addLicences,
    addRotate,
    addTrustBundle,
    addBoot,
    addAudit,
    addBackup,
    addRestore,
  ])
    add(admin);
}
