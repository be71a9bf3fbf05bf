// A server of mutual TLS: node server.js CA CERTIFICATE KEY
const tls = require('tls'), fs = require('fs');
const [ca, cert, key] = process.argv.slice(2).map((file) => fs.readFileSync(file));
const server = tls.createServer({ ca, cert, key, requestCert: true, rejectUnauthorized: true }, (client) => {
  client.on('error', () => {});
  client.end(`hello ${client.getPeerCertificate().subject.CN}\n`);
});
server.listen(0, '127.0.0.1', () => console.log('listening on', server.address().port));
