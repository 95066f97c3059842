package status

import "golang.org/x/sys/windows"

// refused is what connecting says where nobody listens.
const refused = windows.WSAECONNREFUSED
