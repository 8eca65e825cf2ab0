# The guest's half of tests/guest/vsock.rs.
import os, socket, threading

HOST = 2


def pattern(index, size):
    return bytes((index * 7 + i * 31 >> 3) & 0xFF for i in range(1000)) * (size // 1000)


def read_all(connection):
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def connect(port):
    connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    connection.connect((HOST, port))
    return connection


def serve(port, handle, backlog=128):
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(backlog)

    def run():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


# Nothing comes back before the other side has said that it is done.
def give_back(connection):
    with connection:
        connection.sendall(read_all(connection))


def hundred(port):
    connections = [connect(port) for _ in range(100)]
    good = []

    def talk(index, connection):
        with connection:
            sent = pattern(index, 60000)
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            if read_all(connection) == sent:
                good.append(index)

    threads = [threading.Thread(target=talk, args=pair) for pair in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(good)


awake = threading.Event()


def sleepy(connection):
    awake.wait()
    give_back(connection)


def endless(connection):
    try:
        while True:
            connection.sendall(bytes(10000))
    except OSError as error:
        print("ENDLESS", error.errno, flush=True)


# One command a connection, answered by one line.
def command(connection):
    with connection:
        word, *rest = connection.makefile().readline().split()
        answer = "none"
        if word == "hundred":
            answer = hundred(int(rest[0]))
        elif word == "wake":
            awake.set()
        elif word == "flood":
            flood = connect(int(rest[0]))
            flood.sendall(pattern(5, 1000000))
            flood.shutdown(socket.SHUT_WR)
            answer = len(read_all(flood))
        elif word == "storm":
            open_ones, refused = [], 0
            for _ in range(600):
                try:
                    open_ones.append(connect(int(rest[0])))
                except ConnectionResetError:
                    refused += 1
            answer = f"{len(open_ones)} {refused}"
        elif word == "end":
            last = connect(int(rest[0]))
            last.sendall(pattern(9, 250000))
            os.execv("/bin/busybox", ["poweroff", "-f"])
        connection.sendall(f"{answer}\n".encode())


serve(5000, give_back)
serve(5001, sleepy)
serve(5003, endless)
serve(5100, command)
print("SERVING", flush=True)
threading.Event().wait()
