#Requires -Version 5.1
Set-StrictMode -Version 1.0

# What eas-redirect's exit codes mean; docs/reference.md has them.
$script:ExitFindings = 1
$script:ExitUsage = 2
$script:ExitUnreachable = 3


function ConvertTo-EasArgument {
    # One argument as a program's start reads it (CommandLineToArgvW): a backslash counts only
    # before a quotation mark.
    param([Parameter(Mandatory = $true)] [AllowEmptyString()] [string] $Text)

    if ($Text -ne '' -and $Text -notmatch '[\s"]') {
        return $Text
    }
    $escaped = [regex]::Replace($Text, '(\\*)"', '$1$1\"')
    $escaped = [regex]::Replace($escaped, '(\\+)\z', '$1$1')
    return '"' + $escaped + '"'
}


function Start-EasProcess {
    # Begins `eas-redirect`, its texts in UTF-8 whatever the console's code page is.
    param(
        [Parameter(Mandatory = $true)] [string[]] $Program,
        [Parameter(Mandatory = $true)] [string[]] $Argument
    )

    $name, $before = $Program
    $all = @(@($before) + $Argument | Where-Object { $null -ne $_ })
    $start = New-Object System.Diagnostics.ProcessStartInfo
    $start.FileName = $name
    $start.Arguments = (@($all | ForEach-Object { ConvertTo-EasArgument -Text $_ }) -join ' ')
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $start.StandardOutputEncoding = [System.Text.Encoding]::UTF8
    $start.StandardErrorEncoding = [System.Text.Encoding]::UTF8
    $start.EnvironmentVariables['PYTHONUTF8'] = '1'
    try {
        return [System.Diagnostics.Process]::Start($start)
    }
    catch {
        throw "$name cannot be started: $($_.Exception.Message) Install it, or name it with -Program."
    }
}


function Complete-EasProcess {
    # Waits for the end and says what the exit code means: 1 is a warning, 2 and 3 are errors.
    param(
        [Parameter(Mandatory = $true)] $Process,
        [Parameter(Mandatory = $true)] $Talk,
        [string] $Finding,
        [int[]] $Good = @(0)
    )

    $Process.WaitForExit()
    $said = ([string] $Talk.Result).Trim()
    $code = $Process.ExitCode
    if ($Good -contains $code) {
        if ($said) { Write-Verbose -Message $said }
    }
    elseif ($code -eq $script:ExitFindings) {
        $warning = "$Finding $said"
        Write-Warning -Message ($warning.Trim())
    }
    elseif ($code -eq $script:ExitUsage) {
        throw "eas-redirect was called wrongly, or its configuration is refused: $said"
    }
    elseif ($code -eq $script:ExitUnreachable) {
        throw "The directory or a server is out of reach: $said"
    }
    else {
        throw "eas-redirect ended with exit code $code. $said"
    }
}


function Read-EasText {
    # The lines of a file of `--json`, or of the program itself. Good: exit codes that say nothing
    # but what the JSON says, where there is one.
    [CmdletBinding()]
    param(
        [string] $Path,
        [string[]] $Program,
        [string[]] $Argument,
        [string] $Finding,
        [int[]] $Good = @(0)
    )

    if ($Path) {
        $full = $PSCmdlet.GetUnresolvedProviderPathFromPSPath($Path)
        foreach ($line in [System.IO.File]::ReadLines($full)) { $line }
        return
    }
    $process = Start-EasProcess -Program $Program -Argument $Argument
    $ended = $false
    $empty = $true
    try {
        # Both ends are read at the same time, else a full pipe would stop the program.
        $talk = $process.StandardError.ReadToEndAsync()
        while ($null -ne ($line = $process.StandardOutput.ReadLine())) {
            $empty = $false
            $line
        }
        $ended = $true
        if ($empty) { $Good = @(0) }
        Complete-EasProcess -Process $process -Talk $talk -Finding $Finding -Good $Good
    }
    finally {
        # Ctrl+C, or a pipeline that wants no more.
        if (-not $ended -and -not $process.HasExited) { $process.Kill() }
        $process.Dispose()
    }
}


function ConvertTo-EasTime {
    # A UTC time of the JSON, which PowerShell 7 has read as a time already.
    param($Value)

    if ($Value -is [datetime]) { return $Value.ToUniversalTime() }
    if (-not $Value) { return $null }
    $style = [System.Globalization.DateTimeStyles] 'AssumeUniversal, AdjustToUniversal'
    $culture = [System.Globalization.CultureInfo]::InvariantCulture
    return [datetime]::Parse([string] $Value, $culture, $style)
}


function ConvertTo-EasDevice {
    # A row of `report --json`. Identity is the user's, for Get-Mailbox and Set-CASMailbox.
    param([Parameter(Mandatory = $true)] $Row)

    [pscustomobject] @{
        PSTypeName      = 'EasRedirect.Device'
        Identity        = $Row.user
        User            = $Row.user
        DeviceId        = $Row.device_id
        DeviceType      = $Row.device_type
        Client          = $Row.client_family
        UserAgent       = $Row.user_agent
        State           = $Row.state
        FirstSeen       = ConvertTo-EasTime -Value $Row.first_seen
        LastSeen        = ConvertTo-EasTime -Value $Row.last_seen
        Silent          = [timespan]::FromSeconds([double] $Row.silent_s)
        Calls           = $Row.calls
        Redirects       = $Row.redirects
        Returns         = $Row.returns
        Redirected      = ConvertTo-EasTime -Value $Row.redirected
        Location        = $Row.location
        Wave            = $Row.wave
        ProtocolVersion = $Row.protocol_version
        LastReason      = $Row.last_reason
        LikelyCause     = $Row.likely_cause
        Readiness       = $Row.readiness
        ReadinessRule   = $Row.readiness_rule
        Verdict         = $Row.verdict
        VerdictWhy      = $Row.verdict_why
        TargetLastSync  = ConvertTo-EasTime -Value $Row.target_last_sync
        NewDeviceId     = $Row.new_device_id
    }
}


function Get-EasRedirectReport {
    <#
    .SYNOPSIS
    Who followed the redirect, who came back, who is stuck: a device an object.

    .DESCRIPTION
    Runs `eas-redirect report --json` over journals and IIS logs, or reads what that has written on
    another machine. Devices come one by one, so a journal of 200,000 devices needs no more memory
    than one. Each object has Identity (the user, as the phone logs on), so that it can be piped
    into Get-Mailbox, Get-CASMailbox and Set-CASMailbox.

    .PARAMETER Journal
    Journals and IIS logs: files, folders, globs.

    .PARAMETER Path
    A file that `eas-redirect report --json` has written.

    .PARAMETER State
    Only devices in these states: seen, redirected, returned, stuck, quiet, confirmed.

    .PARAMETER TargetDevices
    What the target exports of its devices; gives each device its Verdict.

    .PARAMETER Config
    The eas-redirect.toml, for hashed journals and for the directory.

    .PARAMETER Complete
    The journals are complete up to now, though nothing was written lately (--until now).

    .PARAMETER Summary
    The figures in place of the devices: totals, old_server, reasons, obstacles and the others.

    .PARAMETER Program
    How to start eas-redirect, with what stands before its own arguments.

    .EXAMPLE
    Get-EasRedirectReport -Journal D:\journals -State stuck | Sort-Object Returns -Descending

    .EXAMPLE
    Get-EasRedirectReport -Path report.json -State stuck | Get-Mailbox | Select-Object DisplayName, PrimarySmtpAddress

    .EXAMPLE
    (Get-EasRedirectReport -Journal /var/log/eas-redirect -Summary -Program ssh, proxy1, eas-redirect).old_server

    .OUTPUTS
    EasRedirect.Device
    #>
    [CmdletBinding(DefaultParameterSetName = 'Run')]
    [OutputType('EasRedirect.Device')]
    param(
        [Parameter(Mandatory = $true, Position = 0, ParameterSetName = 'Run')]
        [string[]] $Journal,

        [Parameter(Mandatory = $true, ParameterSetName = 'Read')]
        [string] $Path,

        [ValidateSet('seen', 'redirected', 'returned', 'stuck', 'quiet', 'confirmed')]
        [string[]] $State,

        [Parameter(ParameterSetName = 'Run')]
        [string[]] $TargetDevices,

        [Parameter(ParameterSetName = 'Run')]
        [string] $Config,

        [Parameter(ParameterSetName = 'Run')]
        [switch] $Complete,

        [switch] $Summary,

        [Parameter(ParameterSetName = 'Run')]
        [string[]] $Program = @('eas-redirect')
    )

    $arguments = @('report') + @($Journal) + @('--json')
    foreach ($file in @($TargetDevices)) {
        if ($file) { $arguments += @('--target-devices', $file) }
    }
    if ($Config) { $arguments += @('--config', $Config) }
    if ($Complete) { $arguments += @('--until', 'now') }
    $reading = @{
        Path     = $Path
        Program  = $Program
        Argument = $arguments
        Finding  = 'Some of the files could not be used.'
    }

    # The figures come first, then a device a line; so no more than one is held.
    $head = New-Object System.Text.StringBuilder
    $inDevices = $false
    Read-EasText @reading | ForEach-Object {
        $line = [string] $_
        if (-not $inDevices) {
            if ($line -match '^  "devices": \[') { $inDevices = $true }
            else { [void] $head.AppendLine($line) }
        }
        elseif (-not $Summary -and $line.StartsWith('    {')) {
            $row = ConvertFrom-Json -InputObject ($line.Trim().TrimEnd(','))
            if (-not $State -or $State -contains $row.state) { ConvertTo-EasDevice -Row $row }
        }
    }
    if ($Summary -and $head.Length) {
        $figures = $head.ToString().TrimEnd().TrimEnd(',') + "`n}"
        ConvertFrom-Json -InputObject $figures
    }
}


function Get-EasRedirectPlan {
    <#
    .SYNOPSIS
    Rehearses a wave: where each user's devices would go, and what awaits them there.

    .DESCRIPTION
    Runs `eas-redirect plan --json`, or reads what that has written. One object for each user;
    Devices holds the known ones. Identity is the user's name in the list, so that the object can be
    piped into Get-Mailbox, Get-CASMailbox and Set-CASMailbox.

    .PARAMETER UserName
    A user of the wave, also from the pipeline: a name, or what has UserPrincipalName or User.

    .PARAMETER UserList
    USERS.csv, as `eas-redirect plan` takes it.

    .PARAMETER All
    Everybody whose mailbox has moved.

    .PARAMETER Path
    A file that `eas-redirect plan --json` has written.

    .PARAMETER Journal
    Journals that tell which devices these users have.

    .PARAMETER Config
    The eas-redirect.toml.

    .PARAMETER Program
    How to start eas-redirect, with what stands before its own arguments.

    .EXAMPLE
    Get-EasRedirectPlan -UserList wave1.csv | Where-Object { -not $_.Goes } | Format-Table Identity, Reason, Detail

    .EXAMPLE
    Get-Mailbox -OrganizationalUnit Sales | Get-EasRedirectPlan | Where-Object Goes | Set-CASMailbox -ActiveSyncDebugLogging $true

    .OUTPUTS
    EasRedirect.PlannedUser
    #>
    [CmdletBinding(DefaultParameterSetName = 'Names')]
    [OutputType('EasRedirect.PlannedUser')]
    param(
        [Parameter(Mandatory = $true, ParameterSetName = 'Names', ValueFromPipeline = $true,
            ValueFromPipelineByPropertyName = $true)]
        [Alias('UserPrincipalName', 'User')]
        [string] $UserName,

        [Parameter(Mandatory = $true, Position = 0, ParameterSetName = 'List')]
        [string] $UserList,

        [Parameter(Mandatory = $true, ParameterSetName = 'All')]
        [switch] $All,

        [Parameter(Mandatory = $true, ParameterSetName = 'Read')]
        [string] $Path,

        [string[]] $Journal,

        [string] $Config = 'eas-redirect.toml',

        [string[]] $Program = @('eas-redirect')
    )

    begin {
        $names = New-Object System.Collections.Generic.List[string]
    }
    process {
        if ($UserName) { $names.Add($UserName) }
    }
    end {
        $written = $null
        $list = $UserList
        if ($PSCmdlet.ParameterSetName -eq 'Names') {
            $written = [System.IO.Path]::GetTempFileName()
            $list = $written
            $rows = @($names | ForEach-Object { [pscustomobject] @{ user = $_ } } | ConvertTo-Csv -NoTypeInformation)
            $utf8 = New-Object System.Text.UTF8Encoding -ArgumentList $true
            [System.IO.File]::WriteAllLines($written, [string[]] $rows, $utf8)
        }
        $arguments = @('plan', '--json', '--config', $Config)
        if ($All) { $arguments += '--all' }
        foreach ($file in @($Journal)) {
            if ($file) { $arguments += @('--journal', $file) }
        }
        if ($list) { $arguments += $list }
        $reading = @{
            Path     = $Path
            Program  = $Program
            Argument = $arguments
            Finding  = 'Something has to be corrected before this wave.'
        }
        try {
            $text = @(Read-EasText @reading) -join "`n"
        }
        finally {
            if ($written) { Remove-Item -LiteralPath $written -ErrorAction SilentlyContinue }
        }
        if (-not $text) { return }
        foreach ($user in @((ConvertFrom-Json -InputObject $text).users)) {
            [pscustomobject] @{
                PSTypeName   = 'EasRedirect.PlannedUser'
                Identity     = $user.user
                User         = $user.user
                Goes         = $user.decision -eq 'redirect' -or $user.decision -eq 'would_redirect'
                Decision     = $user.decision
                Reason       = $user.reason
                Detail       = $user.detail
                Location     = $user.location
                Relationship = $user.relationship
                Wave         = $user.wave
                Findings     = @($user.findings)
                Readiness    = $user.readiness
                Devices      = @($user.devices)
            }
        }
    }
}


function Test-EasRedirect {
    <#
    .SYNOPSIS
    Tries all that the proxy needs: directory, relationships, targets, Exchange, certificates.

    .DESCRIPTION
    Runs `eas-redirect check --json`. One object for each thing that was tried, with its State
    and, where that is not good, its Advice; or only $true or $false with -Quiet. What is out of
    reach is an object with its State as well, and no error.

    .PARAMETER Config
    The eas-redirect.toml.

    .PARAMETER UserName
    Users to judge, too.

    .PARAMETER Quiet
    Only whether nothing failed.

    .PARAMETER Program
    How to start eas-redirect, with what stands before its own arguments.

    .EXAMPLE
    Test-EasRedirect -Config C:\eas-redirect\eas-redirect.toml | Where-Object State -ne good | Format-List

    .EXAMPLE
    if (-not (Test-EasRedirect -Quiet)) { throw 'Mend what Test-EasRedirect says first.' }

    .OUTPUTS
    EasRedirect.Check
    #>
    [CmdletBinding()]
    [OutputType('EasRedirect.Check', [bool])]
    param(
        [Parameter(Position = 0)]
        [string] $Config = 'eas-redirect.toml',

        [string[]] $UserName,

        [switch] $Quiet,

        [string[]] $Program = @('eas-redirect')
    )

    $arguments = @('check', '--json', '--config', $Config)
    foreach ($name in @($UserName)) {
        if ($name) { $arguments += @('--user', $name) }
    }
    # Whatever it met stands in the JSON, also what is refused or out of reach.
    $codes = @(0, $script:ExitFindings, $script:ExitUsage, $script:ExitUnreachable)
    $text = @(Read-EasText -Program $Program -Argument $arguments -Good $codes) -join "`n"
    $found = ConvertFrom-Json -InputObject $text
    if ($Quiet) {
        return $found.exit_code -eq 0
    }
    foreach ($check in @($found.checks)) {
        [pscustomobject] @{
            PSTypeName = 'EasRedirect.Check'
            Subject    = $check.subject
            State      = $check.state
            Finding    = $check.finding
            Advice     = $check.advice
        }
    }
}


Export-ModuleMember -Function @('Get-EasRedirectReport', 'Get-EasRedirectPlan', 'Test-EasRedirect')
