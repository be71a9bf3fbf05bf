import java.io.FileInputStream;
import java.net.InetAddress;
import java.security.KeyStore;
import javax.net.ssl.*;

/** A client and a server of mutual TLS: java Mutual.java dial PORT NAME TRUST [IDENTITY] or serve TRUST IDENTITY; stores are PKCS#12. */
public class Mutual {
    static final char[] PASSWORD = "changeit".toCharArray();

    static KeyStore store(String file) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream in = new FileInputStream(file)) { store.load(in, PASSWORD); }
        return store;
    }

    static SSLContext context(String trust, String identity) throws Exception {
        TrustManagerFactory trusted = TrustManagerFactory.getInstance("PKIX");
        trusted.init(store(trust));
        KeyManager[] keys = null;
        if (identity != null) {
            KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX");
            factory.init(store(identity), PASSWORD);
            keys = factory.getKeyManagers();
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys, trusted.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] a) throws Exception {
        if (a[0].equals("dial")) {
            SSLContext context = context(a[3], a.length > 4 ? a[4] : null);
            for (String name : a[2].split(",")) {
                try (SSLSocket s = (SSLSocket) context.getSocketFactory().createSocket(
                        new java.net.Socket("127.0.0.1", Integer.parseInt(a[1])), name, 0, true)) {
                    SSLParameters p = s.getSSLParameters();
                    p.setEndpointIdentificationAlgorithm("HTTPS");
                    s.setSSLParameters(p);
                    System.out.print(new String(s.getInputStream().readAllBytes()));
                } catch (SSLException e) {
                    System.out.println("refused: " + e.getMessage());
                }
            }
            return;
        }
        SSLServerSocket listener = (SSLServerSocket) context(a[1], a[2]).getServerSocketFactory()
            .createServerSocket(0, 5, InetAddress.getLoopbackAddress());
        listener.setNeedClientAuth(true);
        System.out.println("listening on " + listener.getLocalPort());
        while (true) {
            try (SSLSocket s = (SSLSocket) listener.accept()) {
                String name = ((SSLSession) s.getSession()).getPeerPrincipal().getName();
                s.getOutputStream().write(("hello " + name.replaceFirst("^CN=", "") + "\n").getBytes());
            } catch (SSLException e) {
                System.out.println("refused: " + e.getMessage());
            }
        }
    }
}
