// Compiles UpgradeRegistry.sol to artifacts/UpgradeRegistry.json.
// With --check nothing is written: it fails when the sources do not compile to what is checked in.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import solc from 'solc';

const here = dirname(fileURLToPath(import.meta.url));
const contract = 'UpgradeRegistry';
const file = `${contract}.sol`;
const target = join(here, 'artifacts', `${contract}.json`);
const source = readFileSync(join(here, file), 'utf8');

// paris has no PUSH0, so that the same bytecode runs on every chain of the family. No metadata hash:
// the bytecode must depend on nothing but the source and these settings.
const settings = {
  evmVersion: 'paris',
  optimizer: { enabled: true, runs: 200 },
  viaIR: true,
  metadata: { bytecodeHash: 'none', appendCBOR: false },
};

const input = {
  language: 'Solidity',
  sources: { [file]: { content: source } },
  settings: {
    ...settings,
    outputSelection: { [file]: { [contract]: ['abi', 'evm.bytecode.object', 'evm.methodIdentifiers'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const { severity, formattedMessage } of output.errors ?? []) {
  console.error(`${severity}: ${formattedMessage}`);
}
if ((output.errors ?? []).length > 0) {
  process.exit(1);
}

const compiled = output.contracts[file][contract];
const artifact = `${JSON.stringify(
  {
    contract,
    source: file,
    sourceSha256: createHash('sha256').update(source).digest('hex'),
    compiler: `solc ${solc.version()}`,
    settings,
    abi: compiled.abi,
    methodIdentifiers: compiled.evm.methodIdentifiers,
    bytecode: `0x${compiled.evm.bytecode.object}`,
  },
  null,
  2,
)}\n`;

if (process.argv.includes('--check')) {
  let checkedIn = '';
  try {
    checkedIn = readFileSync(target, 'utf8');
  } catch (error) {
    console.error(`cannot read ${target}: ${error.message}`);
    process.exit(1);
  }
  if (checkedIn !== artifact) {
    console.error(`artifacts/${contract}.json is not what ${file} compiles to: run npm run build and commit the result`);
    process.exit(1);
  }
  console.log(`artifacts/${contract}.json is what ${file} compiles to`);
} else {
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, artifact);
  console.log(`wrote artifacts/${contract}.json`);
}
